"""Make `syslog.log`: what a small host's syslog says of a quiet hour and of the minute in which it goes wrong, without the times.

Of our own making, in the words that cron, sshd, systemd, nginx and the kernel use. The same seed gives the same file.
"""

import random
from pathlib import Path

QUIET = 600
"""Lines before the bad minute."""
USUAL = (
    (20, 'nginx[811]: {ip} - - "GET /shop/{n} HTTP/1.1" 200 {n}'),
    (14, "shop[977]: 2026-11-25 09:14:02,{ms} INFO  [worker-{d}] com.example.shop.Cart: item {n} put into cart {n}"),
    (10, "shop[977]: 2026-11-25 09:14:02,{ms} INFO  [worker-{d}] com.example.shop.Pay: order {n} paid in {ms} ms"),
    (6, "sshd[{pid}]: Accepted publickey for deploy from {ip} port {port} ssh2: ED25519 SHA256:{hex}"),
    (6, "sshd[{pid}]: pam_unix(sshd:session): session opened for user deploy(uid=1001) by (uid=0)"),
    (6, "sshd[{pid}]: pam_unix(sshd:session): session closed for user deploy"),
    (5, "CRON[{pid}]: (root) CMD (command -v debian-sa1 > /dev/null && debian-sa1 1 1)"),
    (4, "systemd[1]: Started session-{n}.scope - Session {n} of User deploy."),
    (4, "systemd[1]: session-{n}.scope: Deactivated successfully."),
    (2, "systemd-resolved[612]: Clock change detected. Flushing caches."),
)
BAD = """
shop[977]: 2026-11-25 09:57:40,118 WARN  [worker-2] com.example.shop.Pay: bank answers slowly, 4180 ms
kernel: [ 8123.411872] ata1.00: exception Emask 0x0 SAct 0x40 SErr 0x0 action 0x0
kernel: [ 8123.412090] blk_update_request: I/O error, dev sda, sector 41945216 op 0x0:(READ)
kernel: [ 8123.412544] EXT4-fs error (device sda1): ext4_find_entry:1436: inode #131074: comm java: reading directory lblock 0
shop[977]: 2026-11-25 09:57:41,007 ERROR [worker-2] com.example.shop.Pay: order 81723 was not paid
shop[977]: java.lang.IllegalStateException: the ledger cannot be written
shop[977]: #011at com.example.shop.Ledger.append(Ledger.java:88)
shop[977]: #011at com.example.shop.Pay.run(Pay.java:41)
shop[977]: #011at java.base/java.lang.Thread.run(Thread.java:840)
shop[977]: Caused by: java.io.IOException: Input/output error
shop[977]: #011at java.base/sun.nio.ch.FileDispatcherImpl.write0(Native Method)
shop[977]: #011... 2 more
kernel: [ 8131.902217] Out of memory: Killed process 977 (java) total-vm:8123412kB, anon-rss:5127768kB, file-rss:0kB, shmem-rss:0kB, UID:1001
systemd[1]: shop.service: Main process exited, code=killed, status=9/KILL
systemd[1]: shop.service: Failed with result 'oom-kill'.
nginx[811]: 10.0.3.17 - - "GET /shop/81724 HTTP/1.1" 502 157
""".strip().splitlines()


def lines(seed: int = 1) -> list[str]:
    chance = random.Random(seed)
    weights, texts = zip(*USUAL, strict=True)
    return [f"web-1 {text}" for text in [*(filled(text, chance) for text in chance.choices(texts, weights, k=QUIET)), *BAD]]


def filled(text: str, chance: random.Random) -> str:
    return text.format(
        ip=f"10.0.3.{chance.randrange(2, 250)}",
        n=chance.randrange(1000, 90_000),
        d=chance.randrange(1, 9),
        ms=chance.randrange(100, 1000),
        pid=chance.randrange(2000, 30_000),
        port=chance.randrange(32_768, 61_000),
        hex=f"{chance.getrandbits(128):032x}",
    )


if __name__ == "__main__":
    Path(__file__).with_name("syslog.log").write_text("\n".join(lines()) + "\n", encoding="utf-8")
