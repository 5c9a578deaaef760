#!/usr/bin/env python3
"""A slow and lossy link between two network namespaces, where the kernel has no netem.

    relay.py NAMESPACE-A NAMESPACE-B DELAY-SECONDS LOSS

makes a tunnel device in each (mla0, 10.78.0.1 and 10.78.0.2) and carries packets between them, each DELAY later, and
LOSS of them (0.01: one in a hundred) never. Prints "ready"; SIGTERM ends it, with the number of packets. Needs root and
/dev/net/tun.
"""
import collections
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def open_end(namespace, name, address):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    for command in (f"ip link set {name} netns {namespace} name mla0",
                    f"ip -n {namespace} address add {address}/24 dev mla0",
                    f"ip -n {namespace} link set mla0 up"):
        subprocess.run(command.split(), check=True)
    return device


def main():
    first, second, delay, loss = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    ends = [open_end(first, f"mla{os.getpid()}a", "10.78.0.1"), open_end(second, f"mla{os.getpid()}b", "10.78.0.2")]
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting = collections.deque()  # (when, to, packet), in order: all are held up for the same time
    dice, packets, lost = random.Random(1), 0, 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{packets} packets, {lost} of them lost"))
    print("ready", flush=True)
    while True:
        pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for end in select.select(ends, [], [], pause)[0]:
            packet = os.read(end, 65536)
            packets += 1
            if dice.random() < loss:
                lost += 1
            else:
                waiting.append((time.monotonic() + delay, other[end], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(waiting[0][1], waiting.popleft()[2])


main()
