"""The words of the field: what an attack, a defense, an update and an aggregate are.

An attack or a defense is one module with a docstring (summary line, citation, equations, deviations), one frozen
``Config`` dataclass whose fields are documented by a string below each, and one subclass of :class:`Attack` or
:class:`Defense`. Its registered name is the file's name with ``_`` written ``-``. Nothing else is edited. A data set is
one module of another package, with a docstring and one subclass of :class:`DataSource`. A partition is like an attack,
with :class:`Partition`, and so is a model, with :class:`Classifier`. A metric is like a data set, with
:class:`Measurement`. One file may stand for all rules or models of a library, with :class:`Member` and
:class:`Library`.

Shapes used throughout: K clients in a round, P parameters, Q entries of BatchNorm running statistics, B images of a
batch, C channels, H × W pixels. Images are float32 in [0, 1] before normalization.
"""

from clipfed_bench.api.attack import (
    AdaptContext,
    Attack,
    AttackContext,
    CraftContext,
    GradientRule,
    LocalContext,
    LocalModel,
    Loss,
    ParameterRule,
    UntargetedAttack,
)
from clipfed_bench.api.defense import (
    Aggregate,
    ClientUpdates,
    Defense,
    RoundContext,
    ServerContext,
    ServerModel,
    Teacher,
)
from clipfed_bench.core.data_source import DataSource
from clipfed_bench.core.library import Library, Member
from clipfed_bench.core.metric import Measurement, Recorded, TestOutputs
from clipfed_bench.core.partition import Partition, Samples
from clipfed_bench.toolbox.classifier import Classifier

__all__ = [
    "AdaptContext",
    "Aggregate",
    "Attack",
    "AttackContext",
    "Classifier",
    "ClientUpdates",
    "CraftContext",
    "DataSource",
    "Defense",
    "GradientRule",
    "Library",
    "LocalContext",
    "LocalModel",
    "Loss",
    "Measurement",
    "Member",
    "ParameterRule",
    "Partition",
    "Recorded",
    "RoundContext",
    "Samples",
    "ServerContext",
    "ServerModel",
    "Teacher",
    "TestOutputs",
    "UntargetedAttack",
]
