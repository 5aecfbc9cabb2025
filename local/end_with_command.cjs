// Ends the CDK and all that it started once the command that started it is gone: its end of this pipe closes.
process.stdin.on("end", () => process.kill(-process.pid, "SIGKILL"));
process.stdin.resume();
process.stdin.unref();
