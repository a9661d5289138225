"""Environments whose agents take turns (PettingZoo's AEC): their rows, and what is learnt from them."""

from __future__ import annotations

import numpy as np
import pytest
from envs_by_name import Answer, Cycle, Knockout
from hypothesis import given
from hypothesis import strategies as st
from pufferlib_core import check_env, evaluate, gae, load_policy, make_vec, train, vtrace
from pufferlib_core.algorithms import get_algorithm
from pufferlib_core.algorithms.ppo import PPOConfig, observe_segment, targets
from pufferlib_core.backends import get_backend
from pufferlib_core.data import Segment
from pufferlib_core.errors import EnvError, MissingExtra
from pufferlib_core.loops.settings import resolve
from pufferlib_core.native import Pool
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.ops.turns import OwnTurns, settle
from pufferlib_core.policies import PolicySpec
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec, vectorize

A = 3


def f4(*values):
    return np.array(values, np.float32)[:, None]


def u1(*values):
    return np.array(values, np.uint8)[:, None]


# Rows of turn-based environments


def rows_of(mode, steps, action=1, **options):
    vec = make_vec("envs_by_name:Knockout", num_envs=2, autoreset=mode, seed=1, **options)
    first = vec.reset().obs.copy()
    segment = vec.allocate(steps)
    for plane in (segment.obs, segment.reward, segment.final_obs):
        plane[...] = 7.0  # what the memory held before must not show
    segment.obs[0] = first
    finished = [vec.step(np.full(2 * A, action, np.int32), out=(segment, t)).finished for t in range(steps)]
    vec.close()
    return segment, finished


@pytest.mark.parametrize("workers", [None, 2])
def test_rows_of_turns(workers):
    segment, finished = rows_of("same_step", 10, workers=workers)
    assert segment.turns
    assert finished == [0, 0, 2, 0, 4] * 2
    for k in (0, A):
        own = slice(k, k + A)
        assert segment.valid[:, own].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]] * 2
        assert segment.reward[:, own].tolist() == [[1, 10, 10], [10, 1, 10], [10, 5, 1], [1, 0, 10], [10, 0, 1]] * 2
        assert segment.terminated[:, own].tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]] * 2
        assert segment.truncated[:, own].tolist() == [[0, 0, 0]] * 4 + [[1, 0, 1]] + [[0, 0, 0]] * 4 + [[1, 0, 1]]
        assert (segment.cost[:, own] == segment.valid[:, own] * 0.5).all()
        # Everybody who is there sees every turn; who is out has zeros.
        times = np.array([0, 1, 2, 3, 4] * 2)
        there = np.array([[1, 1, 1]] * 3 + [[1, 0, 1]] * 2)
        there = np.concatenate([there, there])
        assert (segment.obs[:-1, own, 0] == there * [1, 2, 3]).all()
        assert (segment.obs[:-1, own, 1] == there * times[:, None]).all()
        assert segment.final_obs[own].tolist() == [[1, 5], [2, 3], [3, 5]]
        assert [segment.log[t, k + a]["episode_length"] for t, a in ((4, 0), (2, 1), (4, 2))] == [2, 1, 2]
        assert [segment.log[t, k + a]["episode_return"] for t, a in ((4, 0), (2, 1), (4, 2))] == [32, 16, 32]


def test_turns_with_other_autoreset_modes():
    segment, finished = rows_of("next_step", 7)
    assert finished == [0, 0, 2, 0, 4, 0, 0]
    assert segment.valid[4:, :A].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert segment.obs[5, :A].tolist() == [[1, 5], [0, 0], [3, 5]]  # the last observations, before the reset
    assert segment.obs[6, :A].tolist() == [[1, 0], [2, 0], [3, 0]]
    assert not segment.reward[5].any()
    waiting, finished = rows_of("disabled", 7)
    assert finished == [0, 0, 2, 0, 4, 0, 0]
    assert not waiting.valid[5:].any()
    assert waiting.obs[7, :A].tolist() == [[1, 5], [0, 0], [3, 5]]


class Raffle(Cycle):
    """Three agents; who is paid, who is out and whose turn is next is drawn from a seed."""

    possible_agents = ("a", "b", "c")

    def observation_space(self, agent):
        return Box(-1e6, 1e6, (2,))

    def action_space(self, agent):
        return Discrete(3)

    def begin(self, seed):
        self.rng = np.random.default_rng(self.drawn if seed is None else seed)
        self.time = 0

    def look(self, agent):
        return np.array([self.possible_agents.index(agent), self.time], np.float32)

    def play(self, agent, action):
        self.time += 1
        for name in self.agents:
            self.rewards[name] = float(self.rng.integers(-3, 4) + action)
            self.terminations[name] = bool(self.rng.random() < 0.1)
            self.truncations[name] = bool(self.rng.random() < 0.05)
        left = [name for name in self.agents if not self.terminations[name] and not self.truncations[name]]
        self.drawn = int(self.rng.integers(1000))
        return self.rng.choice(left).item() if left else None


def told_by_last(env, seed, moves):
    """What PettingZoo's own loop, with `last()`, tells each agent: (return, length, last observation, ended by) a life."""
    env.reset(seed=seed)
    lives, turn, earned, length = [], 0, dict.fromkeys(env.possible_agents, 0.0), dict.fromkeys(env.possible_agents, 0)
    while turn < len(moves):
        agent = env.agent_selection
        obs, reward, terminated, truncated, _ = env.last()
        earned[agent] += reward
        if terminated or truncated:
            lives.append((turn, agent, earned.pop(agent), length.pop(agent), obs.tolist(), terminated, truncated))
            env.step(None)
        else:
            length[agent] += 1
            env.step(moves[turn])
            turn += 1
        while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
            agent = env.agent_selection
            obs, reward, terminated, truncated, _ = env.last()
            lives.append((turn, agent, earned.pop(agent) + reward, length.pop(agent), obs.tolist(), terminated, truncated))
            env.step(None)
        if not env.agents:
            env.reset()
            earned, length = dict.fromkeys(env.possible_agents, 0.0), dict.fromkeys(env.possible_agents, 0)
    return sorted(lives)


@given(seed=st.integers(0, 10_000))
def test_agents_are_told_what_the_aec_loop_tells_them(seed):
    """Each reward counts once, whoever's turn brought it; lives have the same returns, lengths, ends and last sights."""
    spec = EnvSpec(name="raffle", obs_space=Box(-1e6, 1e6, (2,)), action_space=Discrete(3), agents=3, turns=True,
                   factory=Raffle)  # fmt: skip
    vec = vectorize(spec, num_envs=1, seed=seed)
    vec.reset()
    first = int(np.random.SeedSequence(vec._words, spawn_key=(0,)).generate_state(1)[0]) >> 1
    moves = np.random.default_rng(seed).integers(0, 3, 40).tolist()
    lives = []
    for turn, move in enumerate(moves, 1):
        step = vec.step(np.full(3, move, np.int32))
        assert step.valid.sum() == 1
        for k in np.flatnonzero(step.terminated | step.truncated).tolist():
            came = step.log[k]["episode_return"].item(), step.log[k]["episode_length"].item(), step.final_obs[k].tolist()
            lives.append((turn, "abc"[k], *came, bool(step.terminated[k]), bool(step.truncated[k])))
    assert sorted(lives) == told_by_last(Raffle(), first, moves)


def test_environments_that_break_the_rules_are_named():
    class Undead(Knockout):
        """Its dead stay."""

        def step(self, action):
            if action is not None:
                super().step(action)

    class Vanishing(Knockout):
        """b goes without a word."""

        def play(self, agent, action):
            chosen = super().play(agent, action)
            if self.time == 2:
                self.agents.remove("b")
            return chosen

    for made, text in ((Undead, "'b' is over, but step"), (Vanishing, "'b' left `agents` without")):
        spec = EnvSpec(name="x", obs_space=Box(0, 99, (2,)), action_space=Discrete(3), agents=3, turns=True, factory=made)
        vec = vectorize(spec, num_envs=1)
        vec.reset()
        vec.step(np.ones(3, np.int32))
        if made is Undead:
            vec.step(np.ones(3, np.int32))
        with pytest.raises(EnvError, match=text):
            vec.step(np.ones(3, np.int32))
    with pytest.raises(EnvError, match="turns=True is for an environment without a C table"):
        EnvSpec(name="x", obs_space=Box(0, 1, (1,)), action_space=Discrete(2), turns=True, table=lambda isa: 0)


def test_agent_ids():
    vec = make_vec("envs_by_name:Knockout", num_envs=2)
    assert vec.agent_id.dtype == np.int32
    assert vec.agent_id.tolist() == [0, 1, 2, 0, 1, 2]
    assert make_vec("cartpole", num_envs=3).agent_id.tolist() == [0, 0, 0]


# What own turns lead to


def test_settled_turns_by_hand():
    """Turns at 1, 3 and 6; the episode ends in row 4, at another's turn; row 5 is before the first turn of the next."""
    valid = u1(0, 1, 0, 1, 0, 0, 1, 0)
    reward, after = f4(64, 1, 2, 4, 8, 99, 16, 32), f4(10, 11, 12, 13, 0, 15, 16, 17)
    none, ended = u1(*[0] * 8), u1(0, 0, 0, 0, 1, 0, 0, 0)
    settled = settle(reward, after, ended, none, valid)
    assert settled.reward.ravel().tolist() == [0, 3, 0, 12, 0, 0, 48, 0]
    assert settled.next_value.ravel().tolist() == [0, 12, 0, 0, 0, 0, 17, 0]
    assert settled.terminated.ravel().tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert not settled.truncated.any()
    cut = settle(reward, after, none, ended, valid)
    assert cut.truncated.ravel().tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert not cut.terminated.any()
    # gamma 0.5, lam 1, values 2: deltas 3 + 6 - 2 = 7, 12 + 0 - 2 = 10, 48 + 8.5 - 2 = 54.5
    segment = segment_of(reward, f4(*[2] * 8), after, ended, none, valid)
    goals = targets({}, segment, PPOConfig(gamma=0.5, lam=1.0))
    assert goals["advantage"].ravel().tolist() == [0, 7 + 0.5 * 10, 0, 10, 0, 0, 54.5, 0]
    assert goals["target"][valid != 0].tolist() == [14, 12, 56.5]


def test_the_end_of_an_own_turn_cuts_what_follows():
    settled = settle(f4(1, 2, 4), f4(5, 6, 7), u1(1, 0, 0), u1(0, 0, 0), u1(1, 0, 0))
    assert settled.reward.ravel().tolist() == [1, 0, 0]
    assert settled.terminated.ravel().tolist() == [1, 0, 0]


def segment_of(reward, value, next_value, terminated, truncated, valid, turns=True):
    segment = Segment.allocate(*reward.shape, (np.dtype(np.float32), (1,)), 0, (np.dtype(np.int32), ()), turns=turns)
    for name, plane in (("reward", reward), ("value", value), ("next_value", next_value), ("terminated", terminated),
                        ("truncated", truncated), ("valid", valid)):  # fmt: skip
        getattr(segment, name)[...] = plane
    return segment


def experience(rng, length):
    """One agent's own experience, an ordinary sequence, with whole numbers so that sums are exact."""
    reward, value, after = (rng.integers(-8, 9, length).astype(np.float32) for _ in range(3))
    ended = rng.random((2, length)) < 0.15
    return reward, value, after, *ended.astype(np.uint8)


@given(seed=st.integers(0, 10_000), agents=st.integers(1, 4), steps=st.integers(1, 25))
def test_turns_give_each_agent_the_advantages_of_its_own_sequence(seed, agents, steps):
    """Rewards are spread over the rows until the next own turn, ends come in the last of them: it makes no difference."""
    rng = np.random.default_rng(seed)
    mover = rng.integers(agents, size=steps)
    shape = (steps, agents)
    valid = (mover[:, None] == np.arange(agents)).astype(np.uint8)
    planes = {name: rng.normal(size=shape).astype(np.float32) for name in ("value", "next_value", "reward")}
    planes |= {name: np.zeros(shape, np.uint8) for name in ("terminated", "truncated")}
    ratio = rng.normal(size=(2, *shape)).astype(np.float32)
    expected, expected_vtrace = (np.zeros(shape, np.float32) for _ in range(2))
    for k in range(agents):
        turns = np.flatnonzero(mover == k)
        if not len(turns):
            continue
        reward, value, after, terminated, truncated = experience(rng, len(turns))
        after[:-1] = np.where(truncated[:-1] | terminated[:-1], after[:-1], value[1:])
        own = [plane[:, None] for plane in (reward, value, after, terminated, truncated)]
        expected[turns, k] = gae(*own, gamma=0.9, lam=0.8)[:, 0]
        expected_vtrace[turns, k] = vtrace(*(r[turns, k][:, None].copy() for r in ratio), *own, gamma=0.9)[1][:, 0]
        for j, (begin, end) in enumerate(zip(turns, [*turns[1:], steps], strict=True)):
            last = rng.integers(begin, end) if terminated[j] or truncated[j] else end - 1
            spread = rng.integers(-3, 4, last - begin + 1).astype(np.float32)
            spread[0] += reward[j] - spread.sum()
            planes["reward"][begin : last + 1, k] = spread
            planes["value"][begin, k] = value[j]
            planes["next_value"][last, k] = after[j]
            planes["terminated"][last, k], planes["truncated"][last, k] = terminated[j], truncated[j]
    segment = segment_of(*(planes[name] for name in ("reward", "value", "next_value", "terminated", "truncated")), valid)
    assert (targets({}, segment, PPOConfig(gamma=0.9, lam=0.8))["advantage"] == expected).all()
    turns = OwnTurns.of(valid)
    settled = settle(segment.reward, segment.next_value, segment.terminated, segment.truncated, valid)
    reward, *rest = (turns.gather(plane) for plane in settled)
    done = vtrace(*map(turns.gather, ratio), reward, turns.gather(segment.value), *rest, gamma=0.9)[1]
    assert (turns.scatter(done, steps) == expected_vtrace).all()


def test_returns_are_measured_by_own_turns():
    """gamma 0.5, turns at 1 and 3: 3 and 0.5 * 3 + 12; the end in row 4 clears what the next episode starts from."""
    valid, none = u1(0, 1, 0, 1, 0, 0, 1, 0), u1(*[0] * 8)
    reward = f4(64, 1, 2, 4, 8, 99, 16, 32)
    segment = segment_of(reward, reward, reward, u1(0, 0, 0, 0, 1, 0, 0, 0), none, valid)
    state = Moments.empty(1).arrays("return_norm/") | {"return_norm/running": np.zeros(1)}
    new = observe_segment(state, segment, PPOConfig(gamma=0.5, normalize_return=True))
    samples = np.array([3, 13.5, 48])
    assert np.allclose(new["return_norm/mean"], samples.mean())
    assert np.allclose(Moments.of(new, "return_norm/").scale(), 1 / samples.std(), rtol=1e-5)
    assert new["return_norm/running"].tolist() == [48]


# Learning


def collected(vec_seed=0):
    settings, spec, _ = resolve({"env": "envs_by_name:Answer", "train": {"num_envs": 8}, "policy": {"normalize_obs": True},
                                 "ppo": {"horizon": 16, "minibatch": 64, "normalize_return": True}})  # fmt: skip
    algorithm = get_algorithm("ppo")
    policy_spec = PolicySpec(obs_space=spec.obs_space, action_space=spec.action_space, config=settings.policy)
    pool = Pool(1)
    engine = get_backend("native", "ppo.update").make_engine(policy_spec, settings.options, num_envs=16, seed=0, pool=pool)
    state = algorithm.init(engine, policy_spec, settings.options, num_envs=16, seed=0)
    engine.load(state)
    vec = vectorize(spec, num_envs=8, seed=vec_seed)
    segment = vec.allocate(16)
    step = vec.reset()
    segment.obs[0], segment.action_mask[0] = step.obs, step.action_mask
    engine.collect(vec, segment, 0)
    return algorithm, engine, state, segment, settings.options


def test_values_after_rows_that_wait():
    """They are the values of the next row, whose turn it may be, and 0 where the game ended at another's turn."""
    _, engine, _, segment, _ = collected()
    waits = segment.valid == 0
    going_on = waits & (segment.terminated == 0)
    assert waits.sum() == segment.rows / 2
    assert (waits & (segment.terminated != 0)).any()
    assert (segment.next_value[segment.terminated != 0] == 0).all()
    later = np.concatenate([segment.value[1:], engine.policy.forward(segment.features[-1])[1][None]])
    assert (segment.next_value[going_on] == later[going_on]).all()


def test_rows_that_wait_never_influence_learning():
    results = []
    for garbage in (False, True):
        algorithm, engine, state, segment, options = collected()
        waits = segment.valid == 0
        if garbage:
            rng = np.random.default_rng(0)
            segment.obs[:-1][waits] = rng.normal(size=(waits.sum(), 3)) * 1e3
            segment.action[waits] = rng.integers(0, 3, waits.sum())
            segment.logprob[waits] = rng.normal(size=waits.sum()) * 30
            segment.value[waits] = rng.normal(size=waits.sum()) * 1e3
        new, metrics = algorithm.update(engine, state, segment, options, fraction=0.0)
        results.append(({name: array.tobytes() for name, array in new.items()}, metrics))
    assert results[0] == results[1]


def test_players_learn_to_ask_and_to_answer(tmp_path):
    """The asker is paid in the answerer's turn only: 1 for a right answer, 1 more for having asked for 1."""
    check_env(env_spec("envs_by_name:Answer"), steps=40, num_envs=3)
    options = {"train": {"num_envs": 16}, "ppo": {"horizon": 32, "minibatch": 256, "learning_rate": 3e-3, "gamma": 0.5}}
    run = train("envs_by_name:Answer", timesteps=16 * 2 * 32 * 40, options=options, out=str(tmp_path))
    score = evaluate("envs_by_name:Answer", run.checkpoint, episodes=20)
    assert score["episode_return_mean"] == 4.5  # 6 for the asker, 3 for the answerer
    assert score["episode_length_mean"] == 3.0


class Duel:
    """Two agents in turns in a batch: the mover is paid nothing, the other one 1; over after four turns."""

    def __init__(self, num_envs, seed):
        self.time = np.zeros(num_envs, int)
        self.present = np.ones(2 * num_envs, bool)
        self.acting = np.zeros(2 * num_envs, bool)

    def reset(self, rows, out):
        self.time[rows // 2] = 0
        self.present[rows] = True
        self.acting[rows] = rows % 2 == 0
        out.obs[rows] = 1

    def step(self, action, out):
        self.time += 1
        out.reward[:] = ~self.acting
        out.obs[:, 0] = 1 + np.repeat(self.time, 2)
        out.terminated[:] = np.repeat(self.time == 4, 2)
        self.present[:] = np.repeat(self.time < 4, 2)
        self.acting[:] = ~self.acting

    def close(self):
        """Nothing."""


def test_turns_in_a_batch():
    spec = EnvSpec(name="duel", obs_space=Box(0, 9, (1,)), action_space=Discrete(2), agents=2, turns=True, batch=Duel)
    vec = vectorize(spec, num_envs=2)
    vec.reset()
    rows = []
    for _ in range(8):
        step = vec.step(np.zeros(4, np.int32))
        rows.append([plane[:2].tolist() for plane in (step.valid, step.reward, step.terminated)])
    turn, other = [[1, 0], [0, 1], [0, 0]], [[0, 1], [1, 0], [0, 0]]
    assert rows == [turn, other, turn, [[0, 1], [1, 0], [1, 1]]] * 2
    assert step.log["episode_length"].tolist() == [2] * 4
    assert step.log["episode_return"].tolist() == [2] * 4


# PettingZoo's own


def test_a_trained_player_beats_a_random_one_at_tic_tac_toe(tmp_path):
    name = "pettingzoo:classic.tictactoe_v3"
    spec = env_spec(name)
    assert (spec.name, spec.agents, spec.turns, spec.masks) == ("tictactoe_v3", 2, True, True)
    check_env(spec, steps=30, num_envs=2)
    options = {"train": {"num_envs": 32}, "ppo": {"horizon": 32, "minibatch": 512, "learning_rate": 2e-3, "gamma": 1.0,
                                                  "entropy_coef": 0.1}}  # fmt: skip
    run = train(name, timesteps=32 * 2 * 32 * 40, options=options, out=str(tmp_path))
    policy, rng = load_policy(run.checkpoint), np.random.default_rng(0)
    vec = vectorize(spec, num_envs=100, seed=5)
    step = vec.reset()
    ours = np.tile([True, False], 50).repeat(2) ^ (vec.agent_id == 1)  # the trained one begins in every other game
    outcome = np.zeros(vec.rows)
    games = np.zeros(vec.rows, int)
    for t in range(30):
        action = policy.act(step.obs, greedy=True, step=t, action_mask=step.action_mask)[0]
        drawn = (step.action_mask * rng.random(step.action_mask.shape)).argmax(axis=1).astype(np.int32)
        step = vec.step(np.where(ours, action, drawn).astype(np.int32))
        ended = step.terminated != 0
        outcome[ended] += step.log["episode_return"][ended]
        games += ended
    assert games.sum() >= 400
    assert outcome[ours].sum() / games[ours].sum() > 0.45  # wins minus losses a game; a random player has 0
    assert outcome.sum() == 0


def test_an_illegal_move_ends_the_game_of_all():
    """PettingZoo's wrapper: who makes it gets -1, the others 0; the next game begins at once."""
    vec = make_vec("pettingzoo:classic.tictactoe_v3", num_envs=1)
    vec.reset()
    vec.step(np.array([4, 0], np.int32))
    step = vec.step(np.array([0, 4], np.int32))
    assert step.valid.tolist() == [0, 1]
    assert step.reward.tolist() == [0, -1]
    assert step.terminated.tolist() == [1, 1]
    assert step.final_obs.sum(axis=(1, 2)).tolist() == [[1, 0], [0, 1]]
    assert not step.obs.any()
    assert step.action_mask.all()


def test_names_of_pettingzoo(monkeypatch):
    spec = env_spec("pettingzoo:classic.rps_v2")  # it has a parallel_env
    assert (spec.name, spec.agents, spec.turns) == ("rps_v2", 2, False)
    with pytest.raises(EnvError, match=r"pettingzoo:classic.nothing_v1: .*pip install 'pettingzoo\[classic\]'"):
        env_spec("pettingzoo:classic.nothing_v1")
    monkeypatch.setitem(__import__("sys").modules, "pettingzoo", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pufferlib-core\[pettingzoo\]"):
        env_spec("pettingzoo:sisl.pursuit_v5")


def test_the_class_of_a_turn_based_environment_is_seen():
    spec = env_spec("envs_by_name:Answer")
    assert (spec.agents, spec.turns, spec.masks, spec.factory) == (2, True, True, Answer)
