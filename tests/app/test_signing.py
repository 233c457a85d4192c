"""What the operator sets up about signing in: each source of tokens, and what cannot be meant."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from syncserver.app import secret, signing, wiring
from syncserver.app.settings import Settings
from syncserver.core.actor import Actor
from syncserver.core.errors import SetupError, Unauthorised
from syncserver.engine import tokens
from syncserver.engine.jwks import Jwks
from tests.provider import ISSUER, claims, pem, private, providing

HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "own")


async def verified(settings: Settings, token: str) -> Actor:
    """Who a server that is set up so takes this token for."""
    own = secret.load(settings.data_dir)
    return await tokens.verifier(own, signing.trusted(settings, own), signing.rules(settings))(token)


def minted(settings: Settings) -> str:
    return signing.minting(settings)("ada", wiring.now(), HOUR, "t1")


async def test_without_any_setting_the_secret_of_the_data_folder_signs(settings: Settings):
    actor = await verified(settings, minted(settings))
    assert (actor.owner, actor.token_id) == ("user:ada", "t1")


async def test_a_secret_of_one_s_own_takes_its_place(settings: Settings, tmp_path: Path):
    path = tmp_path / "shared"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    shared = replace(settings, token_secret_file=path)
    assert (await verified(shared, minted(shared))).owner == "user:ada"
    assert tokens.mint(path.read_bytes().strip(), "ada", wiring.now(), HOUR)
    with pytest.raises(Unauthorised):
        await verified(shared, minted(settings))


async def test_a_minted_token_says_what_the_settings_ask_for(settings: Settings):
    strict = replace(settings, token_issuer="me", token_audience="books", token_subject="name")
    assert (await verified(strict, minted(strict))).owner == "user:ada"
    with pytest.raises(Unauthorised):
        await verified(strict, minted(settings))


async def test_further_claims_are_asked_for(settings: Settings):
    strict = replace(settings, token_required=" scope, iat ,")
    assert signing.rules(strict).required == ("scope", "iat")
    with pytest.raises(Unauthorised):
        await verified(strict, minted(strict))


async def test_keys_in_a_file_let_in_what_they_verify_and_the_secret_does_not_any_more(
    settings: Settings, tmp_path: Path
):
    path = tmp_path / "keys.pem"
    path.write_bytes(pem(private("RS256")) + pem(private("EdDSA")))
    keyed = replace(settings, token_key_file=path)
    for kind in ("RS256", "EdDSA"):
        token = jwt.encode(claims(), private(kind), algorithm=kind)
        assert (await verified(keyed, token)).owner == "user:ada"
    with pytest.raises(Unauthorised):
        await verified(keyed, minted(settings))
    with pytest.raises(SetupError, match="makes no tokens"):
        minted(keyed)


async def test_published_keys_are_fetched_from_where_they_are(settings: Settings):
    async with providing() as provider:
        published = replace(settings, token_jwks_url=provider.url, token_issuer=ISSUER)
        assert isinstance(signing.trusted(published, bytes(48)), Jwks)
        assert (await verified(published, provider.token())).owner == "user:ada"
        with pytest.raises(Unauthorised):
            await verified(published, provider.token(iss="https://evil.example"))
        with pytest.raises(SetupError, match="makes no tokens"):
            minted(published)


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"token_key_file": Path("/nothing/here")}, "cannot be read"),
    ({"token_secret_file": Path("/")}, "cannot be read"),
    ({"token_secret_file": "short"}, "shorter than 32 bytes"),
    ({"token_secret_file": pem(private("ES256")).decode()}, "PEM"),
    ({"token_key_file": "no key"}, "no key in PEM form"),
    ({"token_jwks_url": "http://id.example/keys", "token_issuer": ISSUER}, "believed"),
    ({"token_jwks_url": "ftp://id.example/keys", "token_issuer": ISSUER}, "believed"),
    ({"token_jwks_url": "https://id.example/keys"}, "TOKEN_ISSUER"),
    ({"token_jwks_url": "https://id.example/keys", "token_key_file": "x", "token_issuer": ISSUER}, "both set"),
    ({"token_secret_file": "x" * 40, "token_key_file": "x"}, "both set"),
    ({"cookie": "to ken"}, "COOKIE"),
    ({"cookie": "token;"}, "COOKIE"),
]


@pytest.mark.parametrize(("changed", "sentence"), NONSENSE, ids=[sentence for _, sentence in NONSENSE])
def test_what_cannot_be_meant_stops_the_start_and_says_what_to_do(
    settings: Settings, tmp_path: Path, changed: dict[str, Any], sentence: str
):
    for name, value in changed.items():
        if name.endswith("_file") and isinstance(value, str):
            (tmp_path / name).write_text(value)
            changed = {**changed, name: tmp_path / name}
    wrong = replace(settings, **changed)
    for look in (lambda: signing.trusted(wrong, bytes(48)), lambda: signing.described(wrong)):
        with pytest.raises(SetupError, match=sentence) as refused:
            look()
        assert refused.value.advice
        assert "short" not in refused.value.detail.replace("shorter", "")


def test_each_source_is_described(settings: Settings, tmp_path: Path):
    (tmp_path / "k").write_bytes(pem(private("ES256")))
    (tmp_path / "s").write_text("s" * 40)
    said = {
        signing.described(replace(settings, **changed))
        for changed in (
            {},
            {"token_key_file": tmp_path / "k"},
            {"token_secret_file": tmp_path / "s"},
            {"token_jwks_url": "https://id.example/keys", "token_issuer": ISSUER},
        )
    }
    assert len(said) == 4
