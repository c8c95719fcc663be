"""Typical messages per level, written for this: what kernels, hardware and services say that source code of applications does not.

Nothing here is taken from a log. Next: models/training/severity.py
"""

from collections.abc import Iterator

from models.training.severity_statements import Statement

PROGRAM = "written"

WRITTEN = {
    2: """
kernel panic: unable to mount root file system
fatal error, the process cannot continue and will exit
fatal: out of memory, giving up
uncorrectable memory error in module 7, system halted
machine check exception on processor 7
fatal exception in thread main
temperature of processor 7 is above the critical threshold, shutting down
power supply 7 has failed, running without redundancy
raid array is degraded beyond repair, data lost
database is corrupt and cannot be opened
segmentation fault in worker 7, core dumped
panic: runtime error: index out of range
unrecoverable hardware fault on node 7
no quorum, the cluster is down
disk failure predicted within hours, replace it at once
fan 7 has stopped, emergency shutdown begins
""",
    3: """
connection refused by 7
could not open file 7: permission denied
failed to read configuration 7: no such file or directory
authentication service is unreachable
write error on device 7
unhandled exception while handling request 7
java.lang.NullPointerException
java.io.IOException: broken pipe
Traceback (most recent call last)
ValueError: invalid literal for int
query failed: syntax error near line 7
upload of 7 failed after 7 attempts
cannot bind to port 7: address already in use
assertion failed in 7 at line 7
job 7 aborted with exit status 7
request 7 failed with status 7: internal server error
input/output error on disk 7, sector 7
certificate of 7 has expired
child process 7 died with signal 7
access forbidden by rule
""",
    4: """
disk usage of 7 is at 7 percent
disk usage exceeds 7 percent
connection to 7 lost, retrying in 7 seconds
retrying request 7, attempt 7 of 7
option 7 is deprecated and will be removed, use 7
deprecated option 7
use of the deprecated setting 7
request took 7 ms, which is slow
queue is nearly full: 7 of 7
clock differs by 7 seconds from its peer
configuration value 7 is unknown and ignored
heartbeat from node 7 is late
certificate expires in 7 days
packet of unexpected length 7 dropped
too many open connections, throttling
no reply from 7 within 7 ms
falling back to the default
corrected memory error count is above the threshold
cache is disabled because memory is low
memory is low, freeing caches
login attempt for unknown user 7
""",
    5: """
service started
server is ready to accept connections
configuration reloaded
received signal 7, shutting down
worker process 7 started
worker process 7 exited normally
log file rotated
link is up at 7 Mbps
switched to standby mode
new leader is node 7
session opened for user 7 by administrator
time was set from peer 7
signal 7 received, reopening logs
resuming normal operation
node 7 joined the cluster
upgrade from version 7 to 7 finished
""",
    6: """
request 7 completed in 7 ms
GET /7 200 7 bytes
connection from 7 accepted
connection to 7 closed
user 7 logged in
task 7 finished with status success
loaded 7 records from 7
listening on 7
received block 7 of size 7
sent 7 bytes to 7
processed 7 messages
0 errors found
no errors
7 tests passed, 0 failed
errors: 0, warnings: 0
memory error detected and corrected
cache error corrected
starting job 7
copied 7 files
health check passed
backup finished
session 7 opened
state changed from idle to running
progress: 7 percent
total 7, used 7, free 7
""",
    7: """
entering function 7
leaving function 7 with result 7
enter: 7
value of 7 is 7
x=7, y=7
onCreate()
handleMessage: what=7
setState(7)
parsing token 7
cache hit for key 7
cache miss for key 7
lock acquired by thread 7
lock released by thread 7
sql: select 7 from 7
loop iteration 7
callback 7 invoked with 7
dump of packet 7
""",
}


def written() -> Iterator[Statement]:
    for severity, texts in WRITTEN.items():
        yield from (Statement(PROGRAM, severity, text) for text in texts.strip().splitlines())
