#!/usr/bin/env bash
# The step of action.yml: check the Space in $SPACE, annotate the pull request, keep the reports.
set -euo pipefail

report="${RUNNER_TEMP:-/tmp}/preflight-report"
# Written first: the reports are kept also when the check fails.
echo "report=$report" >> "$GITHUB_OUTPUT"

command=check
[ "$STATIC" = true ] && command=static
arguments=("$SPACE" --format=github --report-dir="$report" --hub="$PROFILE")
[ -n "$FAIL_ON" ] && arguments+=("--fail-on=$FAIL_ON")
extra=""
if [ "$BROWSER" = true ]; then
  arguments+=(--browser)
  extra="[browser]"
fi
uvx --from "${PREFLIGHT_SOURCE:-preflight-for-spaces$extra @ file://$ACTION}" preflight "$command" "${arguments[@]}"
