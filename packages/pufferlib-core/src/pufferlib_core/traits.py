"""What parts of the system promise each other: environments, steps, progress, loggers and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pufferlib_core.errors import EnvError
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiBinary, MultiDiscrete, Space

ActionSpace = Discrete | MultiDiscrete | MultiBinary | Box | Mixed
FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

# One finished episode; equals puf_episode of puffer/env.h.
EPISODE = np.dtype([("episode_return", np.float32), ("episode_length", np.int32), ("metric", np.float32, (6,))])


@dataclass(frozen=True)
class Keys:
    """How a person plays an environment: the action of each key (`left`, `right`, `up`, `down` or a character)."""

    actions: Mapping[str, float]
    idle: float | None = None  # the action while no key is pressed; None: the environment waits


class BatchEnv(Protocol):
    """N environments written in Python as one object that writes whole rows: the fast way with NumPy.

    `out` holds the arrays of a `Step`. Time limit, statistics, final observations and autoreset are kept around it. With the
    methods of `Stateful` a run on it resumes bit for bit.
    """

    def reset(self, rows: npt.NDArray[np.int64], out: Step) -> None:
        """Starts new episodes in these rows and writes their first observations into `out.obs[rows]`.

        With `EnvSpec.masks`, also which choices are allowed into `out.action_mask[rows]`, which come as 1.
        """

    def step(self, action: npt.NDArray[Any], out: Step) -> None:
        """Takes the action of every row and writes `obs`, `reward`, `terminated`, `truncated` and `cost` of `out`.

        The last three come as 0, and `action_mask` (with `EnvSpec.masks`) as 1. Rows whose episode has ended, while they
        wait for a reset, may hold anything. Continuous actions lie within the bounds of their Box.
        """

    def close(self) -> None:
        """Called once at the end."""


class Stateful(Protocol):
    """What an environment in Python may offer besides, one object or a `BatchEnv`: its whole state, for exact checkpoints.

    A state is None, a bool, int, float, str or bytes, an array of numbers or text, or a dict (with str keys), list or tuple
    of these. It holds all that decides the future, random generators included: `self.np_random.bit_generator.state`.
    """

    def get_state(self) -> Any:
        """The state between two steps."""

    def set_state(self, state: Any) -> None:
        """Goes on from what `get_state` returned, perhaps in another process; called after a reset."""


class PopulationEnv(BatchEnv, Protocol):
    """A `BatchEnv` of environments with several agents (`EnvSpec.agents` > 1), whose rows follow each other.

    Agents may leave before the others, and join later; an environment is over when none is left. With `EnvSpec.turns`
    it also has `acting`, bool (rows,): whose turn it is after the last reset or step.
    """

    present: npt.NDArray[np.bool_]  # (rows,) who is there after the last reset, step or `set_state`


class DeviceEnv(Protocol):
    """The rules of a C table once more, as pure functions of arrays, for back ends that compile them with policy and update.

    A state is a dictionary of arrays, one row for each environment. Time limit, statistics, streams and autoreset are kept
    around it. `xp` is an array namespace: numpy, or jax.numpy where it is traced.
    """

    fields: tuple[tuple[Any, ...], ...]  # the C state before its `puf_rng`, in its order, as for `np.dtype`
    draws: int  # blocks of two random words that a reset takes

    def reset(self, words: Any, *, xp: Any) -> dict[str, Any]:
        """States of new episodes, from uint32 (2 * draws, N); `ops.noise` makes numbers of such words."""

    def observe(self, state: Mapping[str, Any], *, xp: Any) -> Any:
        """Observations, float32 (N, numbers)."""

    def step(self, state: Mapping[str, Any], action: Any, *, xp: Any) -> tuple[dict[str, Any], Any, Any]:
        """The next states, rewards float32 (N,) and who has terminated, bool (N,).

        Actions are int32 (N,) or (N, K), or float32 (N, A), which may lie outside the bounds of their Box.
        """


@dataclass(frozen=True, kw_only=True)
class EnvSpec:
    """An environment as others see it; it comes as exactly one of a C table, a batch or a factory.

    `table(isa)` gives the address of its C function table (puffer/env.h) for an instruction set.
    `batch(num_envs, seed)` makes a `BatchEnv`, whose only randomness comes from the seed sequence.
    `factory()` makes one environment with the interface of Gymnasium.
    Beside a table, `device()` may give the same rules for devices.

    Raises:
        EnvError: if it has none of them, or several.
    """

    name: str
    obs_space: Space
    action_space: ActionSpace
    max_episode_steps: int = 0  # the time limit kept for it; 0: none
    masks: bool = False  # a batch or factory that says which choices are allowed; a C table says so itself
    agents: int = 1  # rows of one environment; more than one only without a C table
    turns: bool = False  # agents wait for each other's turns: their rows are not valid meanwhile, but rewards reach them
    autoreset: str = ""  # the only mode that a batch can have, because it resets itself; empty: it has all
    table: Callable[[int], int] | None = None
    batch: Callable[[int, np.random.SeedSequence], BatchEnv] | None = None
    factory: Callable[[], Any] | None = None
    device: Callable[[], DeviceEnv] | None = None  # the rules of `table` for devices; None: it has no such form
    preset: Mapping[str, Any] = field(default_factory=dict)  # settings that solve it without flags
    render_ansi: Callable[[Any], str] | None = None  # of one observation
    render_rgb: Callable[[Any], ByteArray] | None = None  # (height, width, 3)
    keys: Keys | None = None  # for play by keyboard; None: digits choose a discrete action
    description: str = ""
    config: Any = None  # its settings, a frozen dataclass of `option`s; None: it has none
    c_config: bytes = b""  # the C struct of `config`; empty: the defaults of the C side
    configure: Callable[[Any], EnvSpec] | None = None  # the same environment with other settings
    origin: tuple[str, Mapping[str, Any]] | None = None  # name and settings by which `env_spec` finds it in another process

    def __post_init__(self) -> None:
        if self.agents < 1 or (self.agents > 1 and self.table is not None):
            raise EnvError(f"{self.name}: agents={self.agents} must be at least 1, and 1 with a C table")
        if self.turns and self.table is not None:
            raise EnvError(f"{self.name}: turns=True is for an environment without a C table")
        if self.table is not None and isinstance(self.action_space, Mixed):
            raise EnvError(f"{self.name}: actions of a C table are choices or numbers, not both, got {self.action_space}")
        if self.device is not None and self.table is None:
            raise EnvError(f"{self.name}: a form for devices stands beside a C table, whose states it has")
        if self.masks and (self.table is not None or isinstance(self.action_space, Box)):
            raise EnvError(f"{self.name}: masks=True is for choices of an environment without a C table")
        if self.autoreset and self.max_episode_steps:
            raise EnvError(
                f"{self.name}: it resets itself, so that it must have its own time limit; max_episode_steps must be 0"
            )
        came = [name for name in ("table", "batch", "factory") if getattr(self, name) is not None]
        if len(came) != 1:
            got = " and ".join(came) or "none"
            raise EnvError(f"{self.name}: an environment has exactly one of table, batch and factory, got {got}")

    @property
    def mask_size(self) -> int:
        """Choices that the action masks of a batch or factory speak of; 0: it has none."""
        return 0 if not self.masks or isinstance(self.action_space, Box) else sum(self.action_space.nvec)

    @property
    def playing_keys(self) -> Keys | None:
        """What a person plays with: its own keys, or a digit for each of up to ten choices; None: it cannot be played so."""
        if self.keys is None and isinstance(self.action_space, Discrete):
            return Keys({str(k): k for k in range(min(10, self.action_space.n))})
        return self.keys

    @property
    def spaces(self) -> tuple[Space, Space]:
        """Observation and action space."""
        return self.obs_space, self.action_space


def configurable(
    name: str,
    *,
    config: Any,
    shape: Callable[[Any], Mapping[str, Any]],
    pack: Callable[[Any], bytes],
    table: Callable[[int], int],
    **fixed: Any,
) -> EnvSpec:
    """An `EnvSpec` that can be made again with other settings.

    Args:
        name: of the environment.
        config: its default settings, a frozen dataclass of `option`s.
        shape: the fields of `EnvSpec` that follow from settings: spaces, time limit, renderers.
        pack: the C struct of settings.
        table: see `EnvSpec`.
        **fixed: the other fields.
    """

    def configure(chosen: Any) -> EnvSpec:
        return replace(spec, config=chosen, c_config=pack(chosen), **shape(chosen))

    spec = EnvSpec(name=name, table=table, config=config, configure=configure, **shape(config), **fixed)
    return spec


class Step(NamedTuple):
    """What a vector environment returns; row n belongs to environment n, or to agent n % agents of environment n // agents.

    The arrays are the environment's own and are overwritten by the next step: copy what you keep.
    """

    obs: npt.NDArray[Any]  # (N, *row), see `SpaceTree`; after an episode ended under SAME_STEP, the first of the next one
    reward: FloatArray  # (N,)
    cost: FloatArray  # (N,)
    terminated: ByteArray  # (N,) 0 or 1
    truncated: ByteArray  # (N,) 0 or 1
    valid: ByteArray  # (N,) 0: a dummy row that must not be learnt from; nobody acted
    final_obs: npt.NDArray[Any]  # (N, *row) last observation of the episode; meaningful where it ended
    log: npt.NDArray[Any]  # (N,) EPISODE records; meaningful where the episode ended
    action_mask: ByteArray | None  # (N, logits) 1 where the next action may be that choice; None: all may
    finished: int  # episodes that ended in this step

    def part(self, rows: slice) -> Step:
        """These rows, as views; nothing is said of `finished`."""
        return Step._make([*(plane if plane is None else plane[rows] for plane in self[:9]), 0])


class Progress(NamedTuple):
    """What a callback sees after an update."""

    steps: int  # environment steps so far
    timesteps: int  # the run's total
    updates: int
    metrics: Mapping[str, float]


Callback = Callable[[Progress], Any]  # True stops the run after a checkpoint


class Logger(Protocol):
    """Receives the metrics of a run."""

    def start(self, run: Mapping[str, Any]) -> None:
        """Called once with the resolved settings, `run_dir`, and where it was given `resume` and `resumed_from`."""

    def write(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Called after each update."""

    def close(self) -> None:
        """Called once, also after an error."""
