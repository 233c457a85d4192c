"""A program that writes into its store and says so, until it is killed: `python writer.py URL TOKEN STORE FIRST LAST`.

Each line is an id that was accepted; at the end, when all has been answered, it says `done`.
"""

import asyncio
import sys

import syncserver_client
from syncserver_client import Mutation

KEYS = 3


async def main(url: str, token: str, store: str, first: int, last: int) -> None:
    """Write the numbers from `first` to `last`, one to a row, round and round."""
    async with syncserver_client.connect(url, token, "phone", store=store, backoff_most_s=0.2) as client:
        for number in range(first, last + 1):
            op = "put" if number <= KEYS else "patch"
            mutation = Mutation(op, "progress", f"book-{number % KEYS}", {"position": str(number)})
            # Said before as well: what was killed between the commit and the word is durable all the same.
            print("begun", number, mutation.mutation_id, flush=True)
            if number % 5 == 0:
                await client.push([mutation])
            else:
                client.enqueue(mutation)
            print("accepted", number, mutation.mutation_id, flush=True)
            await asyncio.sleep(0.002 if number % 3 else 0)
        async for _ in client.acks():
            if not client.pending:
                break
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
