"""What follows the loss of a trainer, decided purely."""

from cluster.launching import Lost
from cluster.supervision import NODE_LOST, after_loss
from evidence.records import Fault

LOSS = Lost("killed")


def test_a_lost_trainer_is_started_again() -> None:
    assert after_loss(LOSS, losses=2, max_restarts=2, has_node=True) is LOSS


def test_a_trainer_lost_too_often_fails_the_run_and_says_how_often() -> None:
    ending = after_loss(LOSS, losses=3, max_restarts=2, has_node=True)
    assert isinstance(ending, Fault)
    assert (ending.code, ending.detail) == (
        "trainer_lost",
        "lost 3 times, max_restarts = 2; last: killed",
    )


def test_a_trainer_lost_with_its_node_needs_another_place_however_often() -> None:
    assert after_loss(LOSS, losses=99, max_restarts=0, has_node=False) is NODE_LOST
