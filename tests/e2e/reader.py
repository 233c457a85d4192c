"""A reader whose app saves by itself, until it is killed: `python reader.py URL TOKEN STORE SESSION`.

Says `queued` and the mutation's id whenever a save is in the durable queue. It goes on changing things that it never
has the time to queue, so that there is something to lose.
"""

import asyncio
import sys

import syncserver_client


async def main(url: str, token: str, store: str, session_id: str) -> None:
    """Read until killed; nothing listens at `url`."""
    app = syncserver_client.connect(url, token, "phone", store=store)
    async with app as client, client.autosave(session_id, quiet_s=0.01, most_s=0.05) as saver:
        known: set[str] = set()
        for page in range(1, 1_000_000):
            saver.change(percentage=page / 1_000_000, state={"page": page})
            await asyncio.sleep(0.003)
            for mutation in client.pending:
                if mutation.mutation_id not in known:
                    known.add(mutation.mutation_id)
                    print("queued", mutation.mutation_id, (mutation.value or {})["state"]["page"], flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
