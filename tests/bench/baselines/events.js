// What the node baselines share: events, and the control socket on which bursts of them are asked for.
"use strict";
const net = require("node:net");

const EVENT_BYTES = 300;
const PAD = "x".repeat(EVENT_BYTES - 75);
const made = new Map();

// One event of a channel: its number there, and when it was made.
function event(channel) {
  const seq = (made.get(channel) ?? 0) + 1;
  made.set(channel, seq);
  const bare = { type: "changes", ch: channel, seq, ns: Number(process.hrtime.bigint()), pad: PAD };
  return bare;
}

// Listen at `path`; each line `FIRST CHANNELS EVENTS` calls `publish(channel)` so often.
function obey(path, publish) {
  const server = net.createServer((control) => {
    let rest = "";
    control.on("end", () => process.exit(0));
    control.on("data", (bytes) => {
      const lines = (rest + bytes).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const [first, channels, events] = line.split(" ").map(Number);
        for (let i = 0; i < events; i++) publish((first + i) % channels);
      }
    });
  });
  server.listen(path, () => console.log("ready"));
}

module.exports = { event, obey };
