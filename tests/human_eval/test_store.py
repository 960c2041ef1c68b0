"""Raters, trials and the log in the database, on SQLite and on PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from dojobench.human_eval.catalog import open_study
from dojobench.human_eval.database import open_engine, votes
from dojobench.human_eval.keyring import Keyring, read_key
from dojobench.human_eval.running_study import RunningStudy
from dojobench.human_eval.store import Store
from dojobench.human_eval.vote_chain import verify
from dojobench.protocol.errors import BadInputError

MEASURED = {"break_at": {"left": None, "right": None}, "seconds": 3.0, "plays": 1, "flags": []}
ANSWERS = {"physics": "left", "action": "tie"}
Open = Callable[[], RunningStudy]


@pytest.fixture
def open_running(make_study: Callable[..., Path], database: str | None) -> Iterator[Open]:
    """Opens the same study as often as it is called, as several servers would."""
    folder = make_study()
    opened: list[RunningStudy] = []

    def again() -> RunningStudy:
        study = open_study(folder)
        keyring = Keyring(read_key(folder))
        running = RunningStudy(
            study, Store(open_engine(folder, database), keyring, study.hash), keyring
        )
        opened.append(running)
        return running

    yield again
    for running in opened:
        running.store.close()


def enter(running: RunningStudy, entry: str | None = None) -> str:
    rater = running.store.enter(entry, "en", "1", now=0.0)
    running.store.train(rater.id, passed=True, tries=2)
    return rater.id


def answer(running: RunningStudy, rater: str, now: float = 10.0) -> str:
    found = running.next_trial(rater, now=now, lease=60)
    assert found is not None
    assert running.store.vote(found.trial, ANSWERS, MEASURED, now=now)
    return found.trial


def faults(running: RunningStudy) -> list[str]:
    found = verify(running.store.events(), running.opened.hash, end=running.store.end())
    return [fault.sentence for fault in found]


def test_only_its_owner_reads_the_votes(make_study: Callable[..., Path]) -> None:
    folder = make_study()
    study, keyring = open_study(folder), Keyring(read_key(folder))
    store = Store(open_engine(folder, None), keyring, study.hash)
    modes = {path.stat().st_mode & 0o777 for path in folder.glob("votes.db*")}
    store.close()
    assert modes == {0o600}


def test_a_vote_sent_twice_is_one_vote(open_running: Open) -> None:
    running = open_running()
    rater = enter(running)
    trial = answer(running, rater)
    assert not running.store.vote(trial, {**ANSWERS, "physics": "right"}, MEASURED, now=11.0)
    assert [event.body["answer"] for event in running.store.events()] == ["tie", "left"]
    assert faults(running) == []


def test_a_vote_sent_from_many_threads_and_two_servers_is_one_vote(open_running: Open) -> None:
    servers = [open_running(), open_running()]
    rater = enter(servers[0])
    trial = servers[0].next_trial(rater, now=0.0, lease=60)
    stored: list[bool] = []
    gate = threading.Barrier(8)

    def send(running: RunningStudy) -> None:
        gate.wait()
        stored.append(running.store.vote(trial.trial, ANSWERS, MEASURED, now=1.0))

    threads = [threading.Thread(target=send, args=(servers[k % 2],)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stored) == [False] * 7 + [True]
    assert len(servers[1].store.events()) == 2
    assert faults(servers[1]) == []


def test_two_servers_write_one_chain(open_running: Open) -> None:
    servers = [open_running(), open_running()]
    raters = [enter(servers[0]) for _ in range(6)]

    def work(rater: str, running: RunningStudy) -> None:
        for _ in range(4):
            answer(running, rater)

    threads = [
        threading.Thread(target=work, args=(rater, servers[k % 2]))
        for k, rater in enumerate(raters)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(servers[0].store.events()) == 6 * 4 * 2
    assert faults(servers[0]) == []
    assert servers[0].refresh().votes == servers[1].refresh().votes == 48


def test_a_second_tab_is_given_the_same_trial(open_running: Open) -> None:
    running = open_running()
    rater = enter(running)
    gate = threading.Barrier(4)
    seen: list[str] = []

    def ask() -> None:
        gate.wait()
        seen.append(running.next_trial(rater, now=0.0, lease=60).trial)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_a_lease_runs_out_but_a_late_vote_still_counts(open_running: Open) -> None:
    running = open_running()
    rater = enter(running)
    found = running.next_trial(rater, now=0.0, lease=60)
    assert running.store.open_trials(now=59.0) == 1
    assert running.store.open_trials(now=61.0) == 0
    assert running.next_trial(rater, now=100.0, lease=60).trial == found.trial
    assert running.store.open_trials(now=159.0) == 1
    assert running.store.vote(found.trial, ANSWERS, MEASURED, now=500.0)


def test_the_same_entry_is_the_same_rater(open_running: Open) -> None:
    running = open_running()
    assert enter(running, "a" * 64) == enter(running, "a" * 64)
    assert enter(running, "b" * 64) != enter(running, "a" * 64)
    assert enter(running) != enter(running)


def test_there_are_two_tries_at_the_training_and_no_third(open_running: Open) -> None:
    store = open_running().store
    rater = store.enter(None, "en", "1", now=0.0).id
    for _ in range(2):
        after = store.train(rater, passed=False, tries=2)
    assert (after.tries, after.passed) == (2, False)
    assert store.train(rater, passed=True, tries=2).passed is False


def test_erasing_a_rater_leaves_nothing_of_them_and_a_whole_chain(
    open_running: Open, database: str | None
) -> None:
    running = open_running()
    kept, gone = enter(running, "a" * 64), enter(running, "b" * 64)
    for _ in range(3):
        answer(running, kept)
        answer(running, gone)
    running.store.exclude(gone, "asked for it")
    assert running.refresh().votes == 12
    assert running.store.erase(gone) == 7
    assert faults(running) == []
    events = running.store.events()
    bodies = [event.body for event in events if event.body is not None]
    assert [body["rater"] for body in bodies] == [kept] * 6 + [gone]
    assert events[-1].type == "erase"
    assert running.store.rater(gone) is None
    assert [line["id"] for line in running.store.rater_table()] == [kept]
    assert running.refresh().votes == 6
    assert running.store.erase(gone) is None
    if database is None:
        file = running.opened.folder / "votes.db"
        for part in (file, file.with_name("votes.db-wal")):
            content = part.read_bytes() if part.exists() else b""
            assert content.count(gone.encode()) <= 1  # the entry that says so
            assert b"b" * 64 not in content
    # Who came by the same link later is somebody new.
    assert enter(running, "b" * 64) != gone


def test_an_exclusion_is_an_event_with_its_reason(open_running: Open) -> None:
    running = open_running()
    rater = enter(running)
    answer(running, rater)
    assert running.store.exclude(rater, "pressed the same key all the time")
    assert running.store.events()[-1].body["reason"] == "pressed the same key all the time"
    assert not running.store.exclude("r_nobody", "because")
    assert faults(running) == []


@pytest.mark.parametrize("n", [1, 3, 6])
def test_an_event_edited_or_deleted_in_the_database_is_found(open_running: Open, n: int) -> None:
    running = open_running()
    rater = enter(running)
    for _ in range(3):
        answer(running, rater)
    with running.store._engine.begin() as connection:
        body = connection.execute(select(votes.c.body).where(votes.c.n == n)).scalar_one()
        new = body.replace('"answer":"left"', '"answer":"tie"').replace("3.0", "4.0")
        connection.execute(update(votes).where(votes.c.n == n).values(body=new))
    assert faults(running) == [f"event {n} was changed: its content is not what was committed"]
    with running.store._engine.begin() as connection:
        connection.execute(delete(votes).where(votes.c.n == n))
    assert any(f"event {n} " in sentence and "removed" in sentence for sentence in faults(running))


def test_the_sealed_end_cannot_be_moved(open_running: Open) -> None:
    from dojobench.human_eval.database import head

    running = open_running()
    rater = enter(running)
    answer(running, rater)
    first = running.store.events()[0]
    with running.store._engine.begin() as connection:
        connection.execute(delete(votes).where(votes.c.n == 2))
        connection.execute(update(head).values(n=1, hash=first.hash))
    with pytest.raises(ValueError, match="seal"):
        running.store.end()


def test_the_database_itself_refuses_a_second_vote(open_running: Open) -> None:
    from sqlalchemy import insert
    from sqlalchemy.exc import IntegrityError

    running = open_running()
    answer(running, enter(running))
    with running.store._engine.begin() as connection:
        row = connection.execute(select(votes).where(votes.c.n == 1)).one()
        count = connection.execute(select(func.count()).select_from(votes)).scalar_one()
    copy = {**row._mapping, "n": count + 1, "hash": "0" * 64}
    with pytest.raises(IntegrityError), running.store._engine.begin() as connection:
        connection.execute(insert(votes).values(**copy))


def test_the_plan_may_change_until_the_first_vote(
    make_study: Callable[..., Path], database: str | None
) -> None:
    folder = make_study()

    def opened() -> Store:
        return Store(
            open_engine(folder, database), Keyring(read_key(folder)), open_study(folder).hash
        )

    def edit() -> None:
        with (folder / "study.toml").open("a") as file:
            file.write("\n# edited\n")

    opened().close()
    edit()
    study = open_study(folder)
    store, keyring = opened(), Keyring(read_key(folder))
    running = RunningStudy(study, store, keyring)
    answer(running, enter(running))
    assert faults(running) == []
    store.close()
    edit()
    with pytest.raises(BadInputError, match="changed after the first vote"):
        opened()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("mysql://u@h/d", "cannot|SQLite or PostgreSQL"),
        ("sqlite://", "on disk"),
        ("no address", "not understood"),
        ("postgresql://study@127.0.0.1:1/none", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, address: str, sentence: str
) -> None:
    with pytest.raises(BadInputError, match=sentence):
        open_engine(tmp_path, address)
