"""PPO in PyTorch in the manner of CleanRL: one file, a SyncVectorEnv of Gymnasium, eager tensors."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from common import Clock, Returns, serve
from gymnasium.vector import AutoresetMode
from torch import nn

Segment = dict[str, torch.Tensor]


def network(outputs: int, gain: float) -> nn.Sequential:
    """A 64x64 tanh network with orthogonal weights."""
    layers = [nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
    for layer, scale in zip(layers, (2**0.5, 2**0.5, gain), strict=True):
        nn.init.orthogonal_(layer.weight, scale)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


class Agent(nn.Module):
    """Separate networks for action and value."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = network(2, 0.01), network(1, 1.0)

    def policy(self, obs: torch.Tensor) -> torch.distributions.Categorical:
        """Distribution of actions."""
        return torch.distributions.Categorical(logits=self.actor(obs))

    def value(self, obs: torch.Tensor) -> torch.Tensor:
        """Expected return of each row."""
        return self.critic(obs).squeeze(-1)


@torch.no_grad()
def collect(agent: Agent, envs: Any, obs: Any, returns: Returns, horizon: int) -> tuple[Any, Segment]:
    """The next observation, and `horizon` steps of every environment."""
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in ("obs", "action", "logprob", "value", "reward", "done")}
    for _ in range(horizon):
        row = {"obs": torch.as_tensor(obs)}
        policy = agent.policy(row["obs"])
        row["action"], row["value"] = policy.sample(), agent.value(row["obs"])
        row["logprob"] = policy.log_prob(row["action"])
        obs, reward, terminated, truncated, _ = envs.step(row["action"].numpy())
        done = np.logical_or(terminated, truncated)
        returns.add(reward, done)
        row["reward"], row["done"] = torch.as_tensor(reward, dtype=torch.float32), torch.as_tensor(done, dtype=torch.float32)
        for name, value in row.items():
            rows[name].append(value)
    return obs, {name: torch.stack(values) for name, values in rows.items()}


@torch.no_grad()
def add_advantages(segment: Segment, last_value: torch.Tensor, gamma: float, lam: float) -> None:
    """Generalized advantages; an episode that reached its limit of steps counts as terminated, as in CleanRL."""
    advantage, after = torch.zeros_like(last_value), last_value
    found = []
    for reward, value, done in reversed(list(zip(segment["reward"], segment["value"], segment["done"], strict=True))):
        going = 1.0 - done
        advantage = reward + gamma * going * after - value + gamma * lam * going * advantage
        after = value
        found.append(advantage)
    segment["advantage"] = torch.stack(found[::-1])
    segment["target"] = segment["advantage"] + segment["value"]


def loss(agent: Agent, rows: Segment) -> torch.Tensor:
    """Clipped surrogate and half the squared error of the value, weighted 0.5."""
    policy = agent.policy(rows["obs"])
    ratio = (policy.log_prob(rows["action"]) - rows["logprob"]).exp()
    advantage = (rows["advantage"] - rows["advantage"].mean()) / (rows["advantage"].std() + 1e-8)
    surrogate = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return 0.25 * (agent.value(rows["obs"]) - rows["target"]).square().mean() - surrogate.mean()


def ppo(settings: dict[str, Any], cores: int, seed: int, seconds: float, to_goal: bool) -> dict[str, Any]:
    """Trains on CPU; the learning rate falls linearly to 0."""
    clock, num_envs = Clock(seconds, to_goal), settings["num_envs"]
    torch.manual_seed(seed)
    agent, returns = Agent(), Returns(num_envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=settings["learning_rate"], eps=1e-5)
    vector = {"autoreset_mode": AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="sync", vector_kwargs=vector)
    obs, _ = envs.reset(seed=seed)
    clock.start()
    batch = num_envs * settings["horizon"]
    for steps in range(0, settings["timesteps"], batch):
        optimizer.param_groups[0]["lr"] = settings["learning_rate"] * (1.0 - steps / settings["timesteps"])
        obs, segment = collect(agent, envs, obs, returns, settings["horizon"])
        add_advantages(segment, agent.value(torch.as_tensor(obs)), settings["gamma"], settings["lam"])
        flat = {name: values.flatten(0, 1) for name, values in segment.items()}
        for _ in range(settings["epochs"]):
            for index in torch.randperm(batch).split(settings["minibatch"]):
                optimizer.zero_grad()
                loss(agent, {name: values[index] for name, values in flat.items()}).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        if clock.update(steps + batch, returns.mean):
            break
    return clock.result()


if __name__ == "__main__":
    serve(ppo=ppo)
