"""The published keys: fetched when needed and not more often, kept while the provider is away."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import jwt
import pytest

from syncserver.core.actor import Actor
from syncserver.core.errors import Unauthorised, Unavailable
from syncserver.engine import jwks, tokens
from syncserver.engine.jwks import Jwks
from syncserver.engine.tokens import Rules
from tests.harness import SECRET
from tests.provider import ISSUER, Provider, claims, endless, private, providing, saying

RULES = Rules(issuer=ISSUER)
LONG_S = 1_000.0


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with providing() as found:
        yield found


def keys_of(provider: Provider, *, apart_s: float = 0, within_s: float = 20) -> Jwks:
    return Jwks(provider.url, every_s=LONG_S, apart_s=apart_s, within_s=within_s)


async def shown(keys: Jwks, token: str) -> Actor:
    return await tokens.verifier(SECRET, keys, RULES)(token)


async def test_a_token_that_the_provider_signed_is_let_in_and_its_keys_are_fetched_once(provider: Provider):
    provider.keys |= {"two": ("ES256", 0), "three": ("EdDSA", 0)}
    keys = keys_of(provider)
    for kid in ("one", "two", "three", "one"):
        assert (await shown(keys, provider.token(kid))).owner == "user:ada"
    assert provider.asked == 1


async def test_a_new_key_is_fetched_at_once(provider: Provider):
    keys = keys_of(provider)
    await shown(keys, provider.token())
    provider.keys["next"] = ("EdDSA", 1)
    await shown(keys, provider.token("next"))
    assert provider.asked == 2


async def test_made_up_names_of_keys_do_not_make_it_ask_more_often(provider: Provider):
    keys = keys_of(provider, apart_s=LONG_S)
    await shown(keys, provider.token())
    provider.keys["made up"] = ("EdDSA", 1)
    for _ in range(5):
        with pytest.raises(Unauthorised):
            await shown(keys, provider.token("made up"))
    assert provider.asked == 1


async def test_an_algorithm_that_nothing_is_published_for_does_not_make_it_ask(provider: Provider):
    for algorithm in ("HS256", "none", "RS512", "ES384", ""):
        assert await keys_of(provider).keys(algorithm, "one") == ()
    assert provider.asked == 0


async def test_of_many_who_need_a_key_at_once_one_asks(provider: Provider):
    provider.open.clear()
    keys = keys_of(provider, apart_s=LONG_S)
    waiting = [asyncio.create_task(shown(keys, provider.token())) for _ in range(50)]
    await provider.came.wait()
    provider.open.set()
    assert {actor.owner for actor in await asyncio.gather(*waiting)} == {"user:ada"}
    assert provider.asked == 1


async def test_one_who_asked_and_left_does_not_make_the_next_ask_again(provider: Provider):
    provider.open.clear()
    keys = keys_of(provider, apart_s=LONG_S)
    gone = asyncio.create_task(shown(keys, provider.token()))
    await provider.came.wait()
    gone.cancel()
    with pytest.raises(Unavailable):
        await shown(keys, provider.token())
    assert provider.asked == 1


BAD = {
    "an error": saying(b"{}", "500 Internal Server Error"),
    "not there": saying(b"{}", "404 Not Found"),
    "rubbish": saying(b"<html>"),
    "text that is none": saying(b"\xff\xfe"),
    "no set": saying(b"[]"),
    "a set of text": saying(b'{"keys": "one"}'),
    "another set": saying(b'{"key": []}'),
    "deep": saying(b'{"keys": ' + b"[" * 50_000),
    "too many": saying(b'{"keys": [' + b",".join([b"{}"] * 101) + b"]}"),
    "huge": saying(b" " * 300_000 + b'{"keys": []}'),
    "endless": endless,
    "cut off": saying(b"", "200 OK", "Content-Length: 50"),
    "packed": saying(b"\x1f\x8b\x08\x00", "200 OK", "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("bad", BAD)
async def test_while_it_answers_badly_the_known_keys_stay_and_a_new_one_may_be_tried_again(
    provider: Provider, bad: str, caplog: pytest.LogCaptureFixture
):
    keys = keys_of(provider)
    await shown(keys, provider.token())
    provider.answered = BAD[bad]
    provider.keys["next"] = ("EdDSA", 1)
    with caplog.at_level(logging.WARNING, "syncserver"):
        for _ in range(2):
            with pytest.raises(Unavailable):
                await shown(keys, provider.token("next"))
    assert (await shown(keys, provider.token())).owner == "user:ada"
    assert len(caplog.records) == 1  # the outage, not each look
    provider.answered = provider.published
    assert (await shown(keys, provider.token("next"))).owner == "user:ada"


async def test_while_it_is_away_the_known_keys_stay_and_it_is_found_again(provider: Provider):
    keys = keys_of(provider)
    await shown(keys, provider.token())
    provider.keys["next"] = ("EdDSA", 1)
    await provider.stop()
    assert (await shown(keys, provider.token())).owner == "user:ada"
    with pytest.raises(Unavailable):
        await shown(keys, provider.token("next"))
    await provider.start()
    assert (await shown(keys, provider.token("next"))).owner == "user:ada"


async def test_one_that_does_not_answer_in_time_is_away(provider: Provider):
    provider.open.clear()
    with pytest.raises(Unavailable):
        await shown(keys_of(provider, within_s=0.05), provider.token())


async def test_it_is_not_followed_to_another_address(provider: Provider):
    async with providing() as other:
        for status in ("301 Moved Permanently", "302 Found", "307 Temporary Redirect"):
            provider.answered = saying(b"", status, f"Location: {other.url}")
            with pytest.raises(Unavailable):
                await shown(keys_of(provider), other.token())
        assert other.asked == 0


async def test_a_key_that_has_left_the_set_stops_holding_with_the_next_fetch(provider: Provider):
    keys = keys_of(provider)
    leaked = provider.token()
    await shown(keys, leaked)
    provider.keys = {"two": ("ES256", 0)}
    await shown(keys, provider.token("two"))
    with pytest.raises(Unauthorised):
        await shown(keys, leaked)
    provider.keys = {}
    with pytest.raises(Unauthorised):  # an empty set is a set
        await shown(keys, leaked)


async def test_what_was_verified_with_a_key_that_has_left_is_not_known_any_more_and_the_same_set_changes_nothing(
    provider: Provider,
):
    keys = keys_of(provider)
    verify = tokens.verifier(SECRET, keys, RULES)
    token, unheard = provider.token(), jwt.encode(claims(), private("ES256", 1), "ES256", {"kid": "unheard of"})
    await verify(token)
    with pytest.raises(Unauthorised):
        await verify(unheard)  # makes it ask again
    assert verify.known(token) is not None
    provider.keys = {"two": ("ES256", 0)}
    await verify(provider.token("two"))
    assert verify.known(token) is None
    with pytest.raises(Unauthorised):
        await verify(token)


async def test_it_looks_again_by_itself(provider: Provider):
    keys = Jwks(provider.url, every_s=0.01, apart_s=0)
    async with _running(keys):
        await provider.came.wait()
        asked = provider.asked
        while provider.asked < asked + 3:
            provider.came.clear()
            await provider.came.wait()


async def test_it_looks_again_soon_while_it_is_away(provider: Provider):
    provider.answered = saying(b"", "503 Service Unavailable")
    keys = Jwks(provider.url, every_s=LONG_S, apart_s=0.01)
    async with _running(keys):
        while provider.asked < 3:
            provider.came.clear()
            await provider.came.wait()
        provider.answered = provider.published
        while not await keys.keys("RS256", "one"):
            pass


async def test_a_token_that_names_no_key_may_be_any_s_and_one_that_names_another_kind_s_is_none(provider: Provider):
    provider.keys |= {"rsa": ("RS256", 1), "curve": ("ES256", 0)}
    keys = keys_of(provider)
    assert len(await keys.keys("RS256", None)) == 2
    assert len(await keys.keys("RS256", "rsa")) == 1
    for kid in ("curve", "", "ONE", "../one"):
        assert await keys.keys("RS256", kid) == []


@contextlib.asynccontextmanager
async def _running(keys: Jwks) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.run())
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://id.example/keys", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://[::1]/keys", True),
        ("http://localhost/keys", True),
        ("http://id.example/keys", False),
        ("http://127.0.0.1.id.example/keys", False),
        ("http://127.0.0.1@id.example/keys", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("keys", False),
        ("http://[::1", False),
    ],
)
def test_keys_are_believed_over_tls_or_from_this_machine(url: str, safe: bool):
    assert jwks.is_safe(url) is safe
