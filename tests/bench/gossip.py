# SPDX-License-Identifier: Apache-2.0
"""Weft's gossip beside serf, as real processes: scripts/bench gossip starts this in namespaces of its own."""
import argparse
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time


def now():
    return time.monotonic_ns()


def lo_bytes():
    """IP bytes that the loopback device has carried: every packet of every node once."""
    with open('/proc/net/dev') as table:
        for line in table:
            name, _, counters = line.partition(':')
            if name.strip() == 'lo':
                return int(counters.split()[8])
    raise SystemExit('bench: no loopback device')


def cpu_ns(pid):
    """Of all threads."""
    total = 0
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/schedstat') as stat:
            total += int(stat.read().split()[0])
    return total


def rss_kb(pid):
    with open(f'/proc/{pid}/status') as status:
        for line in status:
            if line.startswith('VmRSS'):
                return int(line.split()[1])
    return 0


class Cluster:
    """Processes, one connection to each, and what each has said since the last forget()."""

    def __init__(self, size):
        self.size = size
        self.processes = {}
        self.selector = selectors.DefaultSelector()
        self.heard = {i: [] for i in range(1, size + 1)}  # (text, time)

    def forget(self):
        self.pump(0)
        for heard in self.heard.values():
            heard.clear()

    def pump(self, timeout):
        for key, _ in self.selector.select(timeout):
            chunk = os.read(key.fd, 1 << 16)
            if not chunk:
                self.selector.unregister(key.fileobj)
            self.hear(key.data, chunk, now())

    def until(self, what, nodes, limit):
        """Waits until `what(node)` gives each of the nodes a time; the last of them."""
        end = now() + int(limit * 1e9)
        open_nodes = set(nodes)
        last = 0
        while open_nodes:
            for node in list(open_nodes):
                at = what(node)
                if at:
                    last = max(last, at)
                    open_nodes.discard(node)
            if now() > end:
                raise SystemExit(f'bench: {type(self).__name__} at N={self.size}: {len(open_nodes)} nodes '
                                 f'have not heard after {limit} s')
            if open_nodes:
                self.pump(0.05)
        return last

    def others(self, node):
        return [i for i in self.processes if i != node]

    def kill(self, node):
        start = now()
        process = self.processes.pop(node)
        process.kill()
        process.wait()
        return start

    def stop(self):
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.selector.close()


class Weft(Cluster):
    def __init__(self, size, binary):
        super().__init__(size)
        self.binary = binary
        self.partial = {i: b'' for i in self.heard}

    def start(self):
        for i in self.heard:
            process = subprocess.Popen([self.binary, str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
            self.processes[i] = process
            self.selector.register(process.stdout, selectors.EVENT_READ, i)
        everybody = set(range(1, self.size + 1))
        known = {i: {i} for i in self.heard}

        def complete(node):
            known[node] |= {int(text.split()[1]) for text, _ in self.heard[node] if text.startswith('alive')}
            return now() if known[node] == everybody else 0
        self.until(complete, self.heard, 60)

    def hear(self, node, chunk, _):
        lines = (self.partial[node] + chunk).split(b'\n')
        self.partial[node] = lines.pop()
        for line in lines:
            text, _, at = line.decode().rpartition(' ')
            self.heard[node].append((text, int(at)))

    def said(self, *texts):
        return lambda node: next((at for text, at in self.heard[node] if text in texts), 0)

    def tell(self, node, command):
        self.processes[node].stdin.write(command.encode() + b'\n')

    def change(self, node, number):
        start = now()
        self.tell(node, f'set change-{number}')
        return start, self.said(f'record change-{number}')

    def leave(self, node):
        start = now()
        self.tell(node, 'leave')
        return start, self.said(f'left {node}')

    def dead(self, node):
        return self.said(f'dead {node}')

    def suspect(self, node):
        return self.said(f'suspect {node}', f'dead {node}')

    def burst(self, records):
        for i in self.processes:
            self.tell(i, f'expect {records * len(self.processes)}')
        start = now()
        for i in self.processes:
            self.tell(i, f'burst {records} 100')
        seen = lambda node: next((at for text, at in self.heard[node] if text.startswith('all ')), 0)
        return (self.until(seen, self.processes, 60) - start) / 1e6


def pack(value):
    """The little of msgpack that serf's RPC asks for."""
    if isinstance(value, bool):
        return b'\xc3' if value else b'\xc2'
    if isinstance(value, int):
        return bytes([value])
    if isinstance(value, str):
        raw = value.encode()
        return bytes([0xa0 | len(raw)]) + raw
    return bytes([0x80 | len(value)]) + b''.join(pack(k) + pack(v) for k, v in value.items())


class Serf(Cluster):
    def __init__(self, size):
        super().__init__(size)
        self.connections = {}
        self.buffers = {i: b'' for i in self.heard}

    @staticmethod
    def name(node):
        return f'node{node:05}'

    @staticmethod
    def address(node):
        return f'127.1.{node // 256}.{node % 256}'

    def start(self):
        for i in self.heard:
            command = ['serf', 'agent', f'-node={self.name(i)}', f'-bind={self.address(i)}:7946',
                       f'-rpc-addr={self.address(i)}:7373', '-log-level=err']
            if i > 1:
                command.append(f'-retry-join={self.address(1)}:7946')
            self.processes[i] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for i in self.heard:
            self.connect(i)
        end = time.monotonic() + 90
        waiting = set(self.heard)
        while waiting:
            for i in list(waiting):
                self.buffers[i] = b''
                self.call(i, 'members', {})
            pause = time.monotonic() + 0.5
            while time.monotonic() < pause:
                self.pump(0.1)
            waiting = {i for i in waiting if self.buffers[i].count(b'alive') < self.size}
            if time.monotonic() > end:
                raise SystemExit(f'bench: serf: {len(waiting)} of {self.size} agents do not know all others')

    def connect(self, node):
        end = time.monotonic() + 30
        while True:
            try:
                connection = socket.create_connection((self.address(node), 7373), 5)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.connections[node] = connection
        self.selector.register(connection, selectors.EVENT_READ, node)
        self.call(node, 'handshake', {'Version': 1})
        self.call(node, 'stream', {'Type': '*'})

    def call(self, node, command, body):
        data = pack({'Command': command, 'Seq': 1})
        if body:
            data += pack(body)
        self.connections[node].sendall(data)

    def forget(self):
        super().forget()
        for i in self.buffers:
            self.buffers[i] = b''

    def hear(self, node, chunk, at):
        self.buffers[node] += chunk
        self.heard[node].append((None, at))

    def said(self, *texts):
        def look(node):
            if all(text.encode() in self.buffers[node] for text in texts):
                return self.heard[node][-1][1]
            return 0
        return look

    def change(self, node, number):
        start = now()
        self.call(node, 'event', {'Name': f'change-{number}.', 'Payload': '', 'Coalesce': False})
        return start, self.said(f'change-{number}.')

    def leave(self, node):
        start = now()
        self.call(node, 'leave', {})
        return start, self.said('member-leave', self.name(node))

    def dead(self, node):
        return self.said('member-failed', self.name(node))


def idle(cluster, seconds):
    """B/s and CPU ms/s per node, and resident kB."""
    pids = [process.pid for process in cluster.processes.values()]
    cluster.forget()
    start, bytes_before = time.monotonic(), lo_bytes()
    cpu_before = sum(cpu_ns(pid) for pid in pids)
    end = start + seconds
    while time.monotonic() < end:
        cluster.pump(0.2)
    spent = time.monotonic() - start
    return ((lo_bytes() - bytes_before) / spent / len(pids),
            (sum(cpu_ns(pid) for pid in pids) - cpu_before) / 1e6 / spent / len(pids),
            statistics.median(rss_kb(pid) for pid in pids))


def measure(cluster, options):
    """Samples by metric. The nodes that leave or die are the last ones; node 1 is everybody's seed."""
    out = {}
    cluster.start()
    n = cluster.size
    time.sleep(0 if options.smoke else 20)  # the news of the start is told for a while
    traffic, cpu, rss = idle(cluster, 2 if options.smoke else 15)
    out[f'idle_bytes_{n}'], out[f'idle_cpu_ms_{n}'], out[f'rss_kb_{n}'] = [traffic], [cpu], [rss]
    samples = out.setdefault(f'change_all_ms_{n}', [])
    for round_number in range(options.rounds):
        cluster.forget()
        node = 1 + round_number % n
        start, seen = cluster.change(node, round_number)
        samples.append((cluster.until(seen, cluster.processes, 20) - start) / 1e6)
    leaves, deaths, suspects = [], [], []
    victims = list(range(n, 1, -1))
    for _ in range(options.ends):
        cluster.forget()
        victim = victims.pop(0)
        start, seen = cluster.leave(victim)
        leaves.append((cluster.until(seen, cluster.others(victim), 30) - start) / 1e6)
        cluster.kill(victim)
    for _ in range(options.ends):
        cluster.forget()
        victim = victims.pop(0)
        start = cluster.kill(victim)
        if isinstance(cluster, Weft):
            suspects.append((cluster.until(cluster.suspect(victim), cluster.processes, 30) - start) / 1e6)
        deaths.append((cluster.until(cluster.dead(victim), cluster.processes, 60) - start) / 1e6)
    out[f'leave_all_ms_{n}'], out[f'death_all_ms_{n}'] = leaves, deaths
    out[f'gone_all_ms_{n}'] = suspects or deaths
    if isinstance(cluster, Weft) and n == 10:
        cluster.forget()
        out['burst_ms'] = [cluster.burst(1000)]
    return out


TARGETS = {'change_all_ms_10': 30, 'change_all_ms_100': 100, 'death_all_ms_10': 2500, 'death_all_ms_100': 2500,
           'gone_all_ms_10': 200, 'gone_all_ms_100': 200, 'leave_all_ms_10': 200, 'leave_all_ms_100': 200,
           'idle_bytes_10': 400, 'idle_bytes_100': 400, 'idle_cpu_ms_10': 0.5, 'idle_cpu_ms_100': 0.5,
           'burst_ms': 1500}


def report(weft, serf, options):
    failed = []
    print(f'{"metric":18} {"weft":>10} {"worst":>10} {"serf":>10} {"weft/serf":>10} {"target":>8}')
    rows = []
    for metric, samples in weft.items():
        mine = statistics.median(samples)
        theirs = statistics.median(serf[metric]) if serf.get(metric) else None
        target = None if options.smoke else TARGETS.get(metric)
        good = '' if target is None else ' ok' if mine <= target else ' MISSED'
        if good == ' MISSED':
            failed.append(metric)
        ratio = mine / theirs if theirs else None
        shown = [f'{v:10.2f}' if v is not None else f'{"-":>10}' for v in (mine, max(samples), theirs, ratio)]
        print(f'{metric:18} {" ".join(shown)} {target if target is not None else "-":>8}{good}')
        if theirs:
            rows.append({'bench': 'gossip', 'metric': metric, 'subject': 'weft', 'reference': 'serf', 'ratio': ratio,
                         'subject_median': mine, 'reference_median': theirs, 'rounds': len(samples)})
    if options.json:
        with open(options.json, 'w') as out:
            json.dump(rows, out, indent=1)
            out.write('\n')
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True)
    parser.add_argument('--json')
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--smoke', action='store_true')
    options = parser.parse_args()
    options.ends = 1 if options.smoke else 3
    if options.smoke:
        options.rounds = 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    weft, serf = {}, {}
    for size in (5,) if options.smoke else (10, 100):
        kinds = [(weft, Weft(size, os.path.join(options.bin, 'gossip_node')))]
        if shutil.which('serf') and not options.smoke:
            kinds.append((serf, Serf(size)))
        for results, cluster in kinds:
            print(f'bench gossip: {type(cluster).__name__.lower()}, {size} nodes', file=sys.stderr)
            try:
                results.update(measure(cluster, options))
            finally:
                cluster.stop()
    return 1 if report(weft, serf, options) else 0


if __name__ == '__main__':
    sys.exit(main())
