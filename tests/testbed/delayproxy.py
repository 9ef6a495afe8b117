"""A TCP relay on loopback that takes its time, and that can be cut: a long line, or a network that is away.

Run as a program with the port to listen on, the port to pass on to, and the seconds that each byte is under way.
SIGSTOP is an outage that both ends may outlast; to kill it breaks all connections.
"""

from __future__ import annotations

import asyncio
import sys


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

    async def receive() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(1 << 16)
            except OSError:
                data = b""
            await queue.put((loop.time() + delay, data))

    receiving = loop.create_task(receive())
    while True:
        due, data = await queue.get()
        await asyncio.sleep(due - loop.time())
        try:
            if not data:
                writer.write_eof()
                break
            writer.write(data)
            await writer.drain()
        except OSError:
            receiving.cancel()
            break


async def _serve(port: int, target: int, delay: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_relay(reader, far_writer, delay), _relay(far_reader, writer, delay))
        writer.close()
        far_writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
