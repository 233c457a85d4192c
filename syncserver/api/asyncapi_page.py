"""The AsyncAPI document as a page to read: HTML made here from the same document, without a script."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_QUOTED = re.compile("`([^`]+)`")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { margin-top: 3rem; border-bottom: 1px solid #ccc }
h3 { margin-top: 2rem }
table { border-collapse: collapse }
td, th { border: 1px solid #ccc; padding: .3rem .6rem; text-align: left }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f4f4f4 }
pre { padding: .8rem; overflow-x: auto }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 }
  code, pre { background: #242424 }
  a { color: #8ab4f8 }
}
"""
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)
"""The page's Content-Security-Policy: nothing but its own style."""


def page(document: Mapping[str, Any]) -> str:
    """The page of an AsyncAPI document of ours."""
    channel = document["channels"]["socket"]
    info = document["info"]
    body = [
        f"<h1>{_text(info['title'])} {_text(info['version'])}: {_text(channel['title'])}</h1>",
        f"<p><code>{_text(channel['address'])}</code>: {_text(channel['description'])}</p>",
        f"<p>{_text(info['description'].partition('|')[0].strip())}</p>",
        "<p>For programs: <a href='asyncapi.json'>asyncapi.json</a>. Over HTTP: <a href='docs'>docs</a>.</p>",
        *_operations(document, "receive", "What a client may say"),
        *_operations(document, "send", "What a client hears without having asked"),
        *_messages(document["components"]["messages"]),
        *_close_codes(channel["x-close-codes"]),
        *_schemas(document["components"]["schemas"]),
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>syncserver: the socket</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>"
    )


def _text(value: object) -> str:
    return _QUOTED.sub(r"<code>\1</code>", escape(str(value)))


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"


def _operations(document: Mapping[str, Any], action: str, title: str) -> Iterable[str]:
    yield f"<h2>{title}</h2><table><tr><th>frame</th><th>what it is</th><th>answer</th></tr>"
    for operation in document["operations"].values():
        if operation["action"] == action:
            reply = operation.get("reply", {"messages": []})
            yield (
                f"<tr><td>{_links(operation['messages'], document)}</td><td>{_text(operation['summary'])}</td>"
                f"<td>{_links(reply['messages'], document)}</td></tr>"
            )
    yield "</table>"


def _links(references: Iterable[Mapping[str, str]], document: Mapping[str, Any]) -> str:
    names = [reference["$ref"].rsplit("/", 1)[1] for reference in references]
    messages = document["components"]["messages"]
    return ", ".join(f"<a href='#{_text(name)}'>{_text(messages[name]['name'])}</a>" for name in names)


def _messages(messages: Mapping[str, Any]) -> Iterable[str]:
    yield "<h2>The frames</h2>"
    for name, message in messages.items():
        yield f"<h3 id='{_text(name)}'>{_text(message['title'])}</h3><p>{_text(message['summary'])}</p>"
        yield from (_json(example["payload"]) for example in message["examples"])
        yield f"<p>Its schema: <a href='#schema-{_text(name)}'>{_text(name)}</a></p>"


def _close_codes(codes: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    yield "<h2>Close codes</h2><table><tr><th>code</th><th>come back?</th><th>why</th></tr>"
    for code in codes:
        back = "yes, with jitter" if code["come_back"] else "no"
        yield f"<tr><td>{_text(code['code'])}</td><td>{back}</td><td>{_text(code['reason'])}</td></tr>"
    yield "</table>"


def _schemas(schemas: Mapping[str, Any]) -> Iterable[str]:
    yield "<h2>Schemas</h2>"
    for name, schema in schemas.items():
        yield f"<h3 id='schema-{_text(name)}'>{_text(name)}</h3>{_json(schema)}"
