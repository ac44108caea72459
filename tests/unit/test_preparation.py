"""What a person hears while a teacher is made and looks at the server's images: minutes, with a real one."""

from __future__ import annotations

from makers.specs import small_cell

from clipfed_bench.core.messages import Environment, Progress
from clipfed_bench.simulator.cell import prepare


def test_each_job_hears_of_its_own_images(tmp_path):
    """One process keeps its teacher from job to job: the second's images are none of the first's."""
    heard: list[list[Progress]] = []
    for per_class in (2, 3, 2):
        spec = small_cell(defense="clip-fed", teacher="local[epochs=1,width=2,depth=1]", server_per_class=per_class)
        steps: list[Progress] = []
        prepare(spec, Environment(cache_dir=tmp_path), steps.append)
        heard.append(steps)
    assert [(s.done, s.total) for s in heard[0] if s.stage == "teacher"][-1] == (1, 1)
    found = [[(s.stage, s.done, s.total) for s in steps if s.stage != "teacher"] for steps in heard]
    assert found == [[("features", 20, 20)] * 2, [("features", 30, 30)] * 2, []], "the images, and the perturbed ones"
