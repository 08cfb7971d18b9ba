#!/usr/bin/env node
/** The floor that figures are measured against: node:http and nothing else. */
import { createServer } from "node:http";

const body = '{"status":"ok"}';
const headers = { "content-type": "application/json", "content-length": body.length };
createServer((_request, response) => response.writeHead(200, headers).end(body)).listen(7860);
