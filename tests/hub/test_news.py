import json
from datetime import UTC, datetime

from syncserver.core.change import Change, Page
from syncserver.hub.news import News

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def change(resource: str, offset: int) -> Change:
    return Change(resource, f"k{offset}", offset, "put", NOW, "phone", "{}")


PAGE = Page("user:ada", "e", 0, 3, 0, 3, [change("progress", 1), change("notes", 2), change("progress", 3)], more=False)


def test_news_is_encoded_once_for_everybody_who_asked_for_the_same():
    news = News([PAGE])
    assert news.frames(None, 0) is news.frames(None, 0)
    assert news.frames(frozenset({"progress"}), 0) is news.frames(frozenset(["progress"]), 0)
    assert news.frames(None, 0) is not news.frames(frozenset({"progress"}), 0)


def test_everybody_hears_only_of_the_resources_asked_for_and_of_the_same_cursors():
    news = News([PAGE])
    frames = {wanted: json.loads(news.frames(wanted, 0)) for wanted in (None, frozenset({"notes"}), frozenset[str]())}
    assert [[row["offset"] for row in frame["rows"]] for frame in frames.values()] == [[1, 2, 3], [2], []]
    assert len({(frame["from"], frame["to"], frame["more"]) for frame in frames.values()}) == 1


def test_whoever_read_on_by_itself_gets_the_rows_that_are_left_and_spoils_it_for_nobody():
    news = News([PAGE])
    rest, whole = json.loads(news.frames(None, 2)), json.loads(news.frames(None, 0))
    assert [row["offset"] for row in rest["rows"]] == [3]
    assert (rest["from"][-2:], rest["to"]) == (".2", whole["to"])
    assert [row["offset"] for row in whole["rows"]] == [1, 2, 3]


def test_a_form_is_given_once_to_all_who_hear_it_in_that_form():
    given = list[bytes]()

    def loud(frame: bytes) -> bytes:
        given.append(frame)
        return frame.upper()

    news = News([PAGE])
    assert news.frames(None, 0, loud) is news.frames(None, 0, loud)
    assert given == [news.frames(None, 0)]
    assert news.frames(None, 0, loud) == news.frames(None, 0).upper()
    assert news.frames(None, 2, loud) == news.frames(None, 2).upper()
