// An exec handler in Node: a batch of changes is a line on stdin, the answer a line on stdout.
//
//   [listeners.cache]
//   bigint = "string"
//   handler = { exec = ["node", "examples/handlers/delete_cache_keys.mjs"] }
//
// Without bigint = "string" JSON.parse rounds numbers beyond 2^53, and the wrong key is deleted.
// A line from console.log would count as an answer: use console.error for what people should read.
import { createInterface } from "node:readline";

// Your work goes here.
async function deleteFromCache(key) {
  console.error("delete", key);
}

for await (const line of createInterface({ input: process.stdin })) {
  const batch = JSON.parse(line);
  const failed = [];
  const failedKeys = new Set();
  let error;
  for (const event of batch) {
    // String() is right for a number and for a text.
    const key = [event.Schema, event.TableName, ...Object.values(event.PK).map(String)].join(":");
    if (failedKeys.has(key)) continue; // this event comes again, after the one that failed
    try {
      await deleteFromCache(key);
    } catch (reason) {
      failed.push(event.EvId);
      failedKeys.add(key);
      error = String(reason);
    }
  }
  // The work is done. Only now answer, once, and say for which batch.
  console.log(JSON.stringify({ failed, error, last: batch.at(-1).EvId }));
}
