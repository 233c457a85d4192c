// uWebSockets.js, in C++: a relay from memory that uses its publish/subscribe. node uws.js PORT CONTROL
"use strict";
const uws = require("@trufflesuite/uws-js-unofficial");
const { event, obey } = require("./events.js");

const [port, control] = process.argv.slice(2);
const app = uws.App().ws("/*", {
  idleTimeout: 0,
  compression: uws.DISABLED,
  maxBackpressure: 64 * 1024 * 1024,
  message: (socket, bytes) => {
    socket.subscribe(Buffer.from(bytes).toString().slice(4)); // `sub N`
    socket.send('{"type":"ready"}');
  },
});

app.listen("127.0.0.1", Number(port), () =>
  obey(control, (channel) => app.publish(String(channel), JSON.stringify(event(channel)))),
);
