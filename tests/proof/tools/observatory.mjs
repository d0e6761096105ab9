// Scores one page as `mdn-http-observatory-scan` does, which knows no ports, paths or cookies.
//
//   node observatory.mjs HTTP_PORT HTTPS_PORT PATH [COOKIE]
import { ALL_TESTS } from "@mdn/mdn-http-observatory/src/constants.js";
import { MINIMUM_SCORE_FOR_EXTRA_CREDIT } from "@mdn/mdn-http-observatory/src/grader/charts.js";
import { getScoreModifier } from "@mdn/mdn-http-observatory/src/grader/grader.js";
import { retrieve } from "@mdn/mdn-http-observatory/src/retriever/retriever.js";

const [httpPort, httpsPort, path, cookie] = process.argv.slice(2);
const headers = ["Accept: text/html", ...(cookie ? [`Cookie: ${cookie}`] : [])];
const answers = await retrieve("localhost", { httpPort, httpsPort, path, headers });
const page = answers.responses.auto;
if (!page) throw new Error("no answer");

const tests = ALL_TESTS.map((test) => test(answers)).map((result) => ({
  name: result.constructor.name,
  result: result.result,
  pass: result.pass,
  modifier: getScoreModifier(result.result),
}));
const sum = (some) => some.reduce((total, test) => total + test.modifier, 100);
const penalized = sum(tests.filter((test) => test.modifier < 0));
const score = penalized >= MINIMUM_SCORE_FOR_EXTRA_CREDIT ? sum(tests) : penalized;
const verified = page.verified;
console.log(JSON.stringify({ status: page.status, verified, score: Math.max(score, 0), tests }));
