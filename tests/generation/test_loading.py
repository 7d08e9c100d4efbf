import pytest

from services.generation.loading import Loading, Phase


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def timed_start(record, importing, starting, warming):
    clock = Clock()
    loading = Loading(record, clock)
    clock.now += importing
    loading.enter(Phase.STARTING_ENGINE)
    clock.now += starting
    loading.enter(Phase.WARMING_UP)
    clock.now += warming
    return loading.finish()


def test_a_start_takes_the_sum_of_its_phases(tmp_path):
    assert timed_start(tmp_path / "start.json", 10, 8, 2) == 20


def test_the_first_start_does_not_claim_to_know_the_time_left(tmp_path):
    progress = Loading(tmp_path / "start.json", Clock()).progress()
    assert progress.remaining_seconds is None
    assert progress.share == 0


def test_a_later_start_is_judged_by_the_one_before(tmp_path):
    timed_start(tmp_path / "start.json", 10, 8, 2)
    clock = Clock()
    loading = Loading(tmp_path / "start.json", clock)
    clock.now = 5
    assert loading.progress().share == pytest.approx(0.25)
    assert loading.progress().remaining_seconds == pytest.approx(15)
    clock.now = 12
    loading.enter(Phase.STARTING_ENGINE)
    assert loading.progress().phase is Phase.STARTING_ENGINE
    assert loading.progress().share == pytest.approx(0.5)


def test_a_slow_phase_never_reaches_its_end_and_never_goes_back(tmp_path):
    timed_start(tmp_path / "start.json", 10, 8, 2)
    clock = Clock()
    loading = Loading(tmp_path / "start.json", clock)
    shares = []
    for clock.now in range(0, 200, 2):
        shares.append(loading.progress().share)
    assert shares == sorted(shares)
    assert shares[-1] < 0.5


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"importing": -1}', "\x00"])
def test_a_damaged_record_counts_as_none(tmp_path, content):
    record = tmp_path / "start.json"
    record.write_text(content)
    assert Loading(record, Clock()).progress().remaining_seconds is None
