// The panel "Verify": the test vectors of the folder, replayed here.
import * as lunet from "./lunet.mjs";
import { newest, Times } from "./calls.mjs";
import { announce, element, made } from "./elements.mjs";

/** @param app as of the panel "Samples" */
export function verifyPanel(app) {
  const [button, table, verdict] = ["verify", "checks", "verdict"].map(element);
  const times = new Times(element("verify-times"));

  const run = newest(async () => {
    const { flow } = app;
    if (!flow) return;
    button.disabled = true;
    try {
      const { density } = await flow.vectors();
      const checks = await times.of("replay of all vectors", density.x.length, () => lunet.replay(flow));
      table.hidden = false;
      table.tBodies[0].replaceChildren(...checks.map(line));
      const wrong = checks.filter(({ passed }) => !passed).length;
      verdict.dataset.passed = String(!wrong);
      verdict.textContent = wrong
        ? `${wrong} of ${checks.length} checks are outside their tolerance on ${app.runtime}: trust no number here.`
        : `All ${checks.length} checks are within their tolerance on ${app.runtime}.`;
      announce(verdict.textContent);
    } finally {
      button.disabled = false;
    }
  }, app.failed);

  button.addEventListener("click", run);

  return {
    opened() {
      times.clear();
      table.hidden = true;
      verdict.textContent = "";
      delete verdict.dataset.passed;
    },
  };
}

/** A row of the table: the check, its largest difference as a share of the tolerance, and the verdict in a word. */
function line({ name, passed, ratio, row, difference, tolerance }) {
  const share = made("td", "", made("span", "share", made("span", "bar"), ratio.toPrecision(3)));
  share.style.setProperty("--share", Math.min(ratio, 1) || 0);
  const [off, most] = [difference.toPrecision(3), tolerance.toPrecision(3)];
  const said = passed ? "passed" : `failed: row ${row} is off by ${off}, tolerance ${most}`;
  const found = made("tr", passed ? "passed" : "failed", made("th", "", name), share, made("td", "", said));
  found.firstChild.scope = "row";
  return found;
}
