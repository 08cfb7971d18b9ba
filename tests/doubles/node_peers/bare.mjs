#!/usr/bin/env node
/** The baseline of the figures: a plain node:http server. */
import { createServer } from "node:http";

const body = '{"status":"ok"}';
const headers = { "content-type": "application/json", "content-length": body.length };
createServer((_request, response) => response.writeHead(200, headers).end(body)).listen(7860);
