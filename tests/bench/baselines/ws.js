// `ws`, the usual WebSocket library of node: a relay from memory. node ws.js PORT CONTROL
"use strict";
const { WebSocketServer } = require("ws");
const { event, obey } = require("./events.js");

const [port, control] = process.argv.slice(2);
const channels = new Map();
const server = new WebSocketServer({ port: Number(port), host: "127.0.0.1", backlog: 4096, perMessageDeflate: false });

server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (bytes) => {
    const channel = Number(bytes.toString().slice(4)); // `sub N`
    if (!channels.has(channel)) channels.set(channel, new Set());
    channels.get(channel).add(socket);
    socket.on("close", () => channels.get(channel).delete(socket));
    socket.send('{"type":"ready"}');
  });
});

server.on("listening", () =>
  obey(control, (channel) => {
    const text = Buffer.from(JSON.stringify(event(channel)));
    for (const socket of channels.get(channel) ?? []) socket.send(text, { binary: false });
  }),
);
