"""A writer whose app saves a node by itself, until it is killed: `python editor.py URL TOKEN STORE SESSION`.

Says `queued` and the page whenever a save is in the durable queue, and goes on changing things that are never queued.
"""

import asyncio
import sys

import syncserver_client


async def main(url: str, token: str, store: str, session_id: str) -> None:
    """Write until killed; nothing listens at `url`."""
    app = syncserver_client.connect(url, token, "phone", store=store)
    async with app as client, client.autosave_node(session_id, "N001", quiet_s=0.01, most_s=0.05) as saver:
        known: set[str] = set()
        for page in range(1, 1_000_000):
            saver.change(content=f"page {page}", metadata={"page": page})
            await asyncio.sleep(0.003)
            for mutation in client.pending:
                if mutation.mutation_id not in known:
                    known.add(mutation.mutation_id)
                    print("queued", (mutation.value or {})["metadata"]["page"], flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
