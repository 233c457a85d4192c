// socket.io over WebSockets, a room for each channel: a relay from memory. node socketio.js PORT CONTROL
"use strict";
const http = require("node:http");
const { Server } = require("socket.io");
const { event, obey } = require("./events.js");

const [port, control] = process.argv.slice(2);
const server = http.createServer();
const io = new Server(server, { transports: ["websocket"], perMessageDeflate: false, pingInterval: 600000 });

io.on("connection", (socket) => {
  socket.on("sub", (channel) => {
    socket.join(String(channel));
    socket.emit("ready");
  });
});

server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 }, () =>
  obey(control, (channel) => io.to(String(channel)).emit("changes", event(channel))),
);
