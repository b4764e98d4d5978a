"""A TCP proxy in front of a broker, so that single links can be cut: the services' or the mirror's.

A Kafka client says who it is in the first request of a connection; the proxy reads no more than that.
Law: bytes are never changed or reordered, only held back or cut off, as a network does.
"""
import asyncio
import contextlib
import struct
import threading

# What a link can be. Held bytes are delivered when the link is open again.
OPEN, HELD, ANSWERS_HELD, CUT = "open", "held", "answers held", "cut"
SERVICES, MIRROR = "services", "mirror"
CHUNK = 65536


def client_of(request):
    """Who a connection belongs to, by the client id in its first request."""
    (length,) = struct.unpack_from(">h", request, 12)
    return SERVICES if request[14:14 + max(length, 0)].startswith(b"concordat-") else MIRROR


class Link:
    """The connections of one kind of client."""

    def __init__(self):
        self.state = OPEN
        self.changed = asyncio.Event()
        self.writers = set()

    def set(self, state):
        self.state = state
        self.changed.set()
        self.changed = asyncio.Event()
        if state == CUT:
            for writer in self.writers:
                writer.transport.abort()

    async def may_pass(self, answer):
        while self.state == HELD or (self.state == ANSWERS_HELD and answer):
            await self.changed.wait()


class Proxy:
    """Listens on 127.0.0.1 from the beginning; `target` is set once the broker's port is known."""

    def __init__(self):
        self.target = None
        self.loop = asyncio.new_event_loop()
        self.links = {SERVICES: Link(), MIRROR: Link()}
        ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait(10)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def run(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    def set(self, kind, state):
        """From any thread."""
        self.loop.call_soon_threadsafe(self.links[kind].set, state)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def serve(self, reader, writer):
        writers = [writer]
        link = None
        try:
            head = await reader.readexactly(14)
            (length,) = struct.unpack_from(">h", head, 12)
            head += await reader.readexactly(max(length, 0))
            link = self.links[client_of(head)]
            if link.state == CUT:
                return
            host, _, port = self.target.rpartition(":")
            their_reader, their_writer = await asyncio.open_connection(host, int(port))
            writers.append(their_writer)
            link.writers.update(writers)
            their_writer.write(head)
            await asyncio.gather(self.pump(link, reader, their_writer, answer=False),
                                 self.pump(link, their_reader, writer, answer=True))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for each in writers:
                if link is not None:
                    link.writers.discard(each)
                with contextlib.suppress(OSError):
                    each.transport.abort()

    async def pump(self, link, reader, writer, answer):
        while data := await reader.read(CHUNK):
            await link.may_pass(answer)
            writer.write(data)
            await writer.drain()
        # One end has hung up; so does the other.
        writer.transport.abort()
