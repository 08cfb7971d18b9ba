// A Space as Express users write it.
const express = require("express");

const app = express();
app.get("/", (request, response) => response.json({ hello: "Space" }));
const server = app.listen(3000, "0.0.0.0", () => console.log("listening on 3000"));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
