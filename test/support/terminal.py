"""Runs a command under a pseudo terminal and follows a script of steps, one JSON array a line on standard input:
["expect", text, seconds]  waits until the output since the last match contains the text
["send", text]             types
["size", rows, cols]       resizes the window
["end", seconds]           waits for the command to end
Prints {"output": ..., "code": ..., "failed": step or null} as JSON."""
import fcntl, json, os, pty, select, signal, struct, sys, termios, time

steps = [json.loads(line) for line in sys.stdin if line.strip()]
pid, master = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
output, matched, code = b"", 0, None

def pump(seconds):
    """Reads output until the timeout; False when the command's side is closed."""
    global output
    if not select.select([master], [], [], seconds)[0]:
        return True
    try:
        data = os.read(master, 65536)
    except OSError:
        data = b""
    output += data
    return data != b""

def resize(rows, cols):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
    os.kill(pid, signal.SIGWINCH)

failed = None
for step in steps:
    if step[0] == "send":
        # One key at a time, as a user types: programs that look for keys examine one read.
        for key in step[1] if len(step[1]) < 4 else [step[1]]:
            os.write(master, key.encode())
            pump(0.05)
    elif step[0] == "size":
        resize(step[1], step[2])
    else:
        deadline = time.monotonic() + step[-1]
        while True:
            if step[0] == "expect":
                at = output.find(step[1].encode(), matched)
                if at >= 0:
                    matched = at + len(step[1].encode())
                    break
            left = deadline - time.monotonic()
            if left <= 0 or not pump(min(left, 0.05)):
                if step[0] == "expect" and output.find(step[1].encode(), matched) < 0:
                    failed = step
                break
    if failed:
        break
deadline = time.monotonic() + 5
while code is None:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        code = os.waitstatus_to_exitcode(status)
    elif time.monotonic() > deadline:
        os.kill(pid, signal.SIGKILL)
        deadline += 5
        failed = failed or ["end"]
    else:
        pump(0.02)
print(json.dumps({"output": output.decode(errors="replace"), "code": code, "failed": failed}))
