"""Stands in for the module ``ray``: workers on nodes that come and go as a test says. Nothing runs, nothing waits."""

from __future__ import annotations

import itertools
from collections import deque
from types import SimpleNamespace

from clipfed_bench.core.messages import CellResult
from clipfed_bench.execution.ray_worker import Greeting


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class RuntimeEnvSetupError(RayError):
    pass


class ActorDiedError(RayError):
    pass


def done(mta=0.5):
    return ("done", CellResult([], {"mta": mta}, {}), False)


class Stream:
    """What an actor will say: values, or errors to be raised, in this order."""

    def __init__(self, *said):
        self.said = deque(said)

    def __next__(self):
        return self.said.popleft()


class Actor:
    """Placed on the first node with room; without one, it waits for one."""

    def __init__(self, ray, log):
        self.ray, self.log = ray, log
        self.number = next(ray.numbers)
        self.node = None
        self.jobs = []
        self.stream = None
        self.greet = SimpleNamespace(remote=self._greet)
        self.run = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=self._run))

    def _greet(self, places, lateness):
        self.stream = Stream()
        self.places = places
        return self.stream

    def place(self):
        for node in self.ray.listed:
            busy = sum(actor.node == node["NodeID"] for actor in self.ray.actors)
            if node["Alive"] and busy < node["Resources"].get("CPU", 0):
                self.node = node["NodeID"]
                said = self.ray.greetings.pop(self.node, None)
                self.stream.said.append(said or Greeting(self.node, f"host-{self.node}", self.ray.version))
                return

    def _run(self, job):
        self.jobs.append(job)
        self.ray.given.append((job.spec.seed, self.node))
        self.stream = Stream(*self.ray.script(job, self))
        return self.stream


class FakeRay:
    """``script(job, actor)`` says what a worker answers to a job; ``after(ray)`` is called between any two looks."""

    exceptions = SimpleNamespace(
        RayError=RayError,
        RayTaskError=RayTaskError,
        RuntimeEnvSetupError=RuntimeEnvSetupError,
        ActorDiedError=ActorDiedError,
    )

    def __init__(self, nodes, script=lambda job, actor: [done()], version="", after=lambda ray: None):
        self.listed = [self.node(name, cpus) for name, cpus in nodes.items()]
        self.script, self.version, self.after = script, version, after
        self.numbers = itertools.count(1)
        self.actors, self.killed, self.given = [], [], []
        self.greetings = {}
        """Node -> what its next worker says instead of a greeting."""
        self.options = None

    @staticmethod
    def node(name, cpus, gpus=0):
        return {"NodeID": name, "Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}}

    def kill_node(self, name):
        """The node is dead, and what ran there says no more than that."""
        next(node for node in self.listed if node["NodeID"] == name)["Alive"] = False
        for actor in self.actors:
            if actor.node == name:
                actor.stream.said.clear()
                actor.stream.said.append(ActorDiedError("its node has died"))

    def remote(self, cls):
        def options(**values):
            self.options = values
            return SimpleNamespace(remote=self._start)

        return SimpleNamespace(options=options)

    def _start(self, settings, log, folder):
        self.actors.append(Actor(self, log))
        return self.actors[-1]

    def nodes(self):
        return self.listed

    def wait(self, streams, timeout, num_returns=1):
        self.after(self)
        for actor in self.actors:
            if actor.node is None:
                actor.place()
        return [stream for stream in streams if stream.said][:num_returns], []

    def get(self, said):
        said = next(said) if isinstance(said, Stream) else said
        if isinstance(said, Exception):
            raise said
        return said

    def kill(self, actor, no_restart):
        self.actors.remove(actor)
        self.killed.append(actor)
