"""The loop that trainings of baselines share."""

import math

import pytest
import torch
from torch import nn

from bbqrec_core.baselines.training_loop import Course, train_to_the_best
from bbqrec_core.errors import StageError

COURSE = Course("Somebody", "baselines.somebody", "checks", 6)


class Training:
    """A weight that moves at random, and is judged by a list of values."""

    def __init__(self, values: list[float], killed_after: int | None = None, course: Course = COURSE) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.values, self.killed_after, self.course = values, killed_after, course
        self.weights: list[float] = []

    def learn(self, step: int) -> float:
        if self.killed_after is not None and step > self.killed_after:
            raise KeyboardInterrupt
        loss = (self.model.weight * torch.randn(())).square().sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.weights.append(float(self.model.weight.detach()))
        return float(loss.detach())

    def judge(self, step: int) -> float:
        return self.values[step - 1]

    def run(self, checkpoint=None, key="key"):
        return train_to_the_best(self.model, self.optimizer, self.course, self.learn, self.judge, 3, checkpoint, key)


def test_the_weights_that_were_judged_best_are_kept():
    training = Training([0.1, 0.3, 0.2, 0.3, 0.0, 0.1])
    progress = training.run()
    assert (progress.best_epoch, progress.best_ndcg, progress.epoch) == (2, 0.3, 6)
    assert float(training.model.weight.detach()) == training.weights[1] != training.weights[-1]
    assert [value for _, name, value in progress.curve if name == "valid/ndcg_at_10"] == training.values


def test_patience_ends_it():
    training = Training([0.1, 0.3, 0.2, 0.2, 0.9, 0.9], course=Course("Somebody", "baselines.somebody", "checks", 6, patience=2))
    assert training.run().epoch == 4


def test_killed_and_resumed_it_ends_the_same(tmp_path):
    values = [0.1, 0.2, 0.3, 0.4, 0.2, 0.1]
    whole = Training(values)
    expected = whole.run()
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        Training(values, killed_after=3).run(path)
    resumed = Training(values)
    assert resumed.run(path) == expected and len(resumed.weights) == 3
    assert torch.equal(resumed.model.weight, whole.model.weight)
    anew = Training(values)
    assert anew.run(path, "another key") == expected and len(anew.weights) == 6


def test_a_loss_that_is_no_number_is_told():
    training = Training([0.1] * 6)
    training.learn = lambda step: math.nan if step == 2 else 0.5
    with pytest.raises(StageError) as caught:
        training.run()
    assert caught.value.problem == "The loss of Somebody is nan after 2 of 6 checks."
    assert caught.value.way_out == "Lower baselines.somebody.learning_rate."
