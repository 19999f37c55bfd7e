# Reads what /test/steps printed and prints the failures; the last line is
# "PASSED FAILED IGNORED RELEASE". Each trial of libtest counts, and each other step as one.

function count(ok) {
    if (ok) passed++; else failed++
}

/^@@release / { release = $2; next }

/^@@begin / {
    step = $2; output = ""; results = 0; bad = 0; told = 0
    next
}

/^@@end / {
    if (!results || (!bad && $3 != 0)) count($3 == 0)
    if ($3 != 0) printf "--- %s ended with %s\n%s", step, $3, output
    step = ""
    next
}

# What libtest prints before is a line a trial.
/^failures:$/ {
    if (!told) output = ""
    told = 1
}

/^test result: / {
    results++; passed += $4; failed += $6; ignored += $8; bad += $6
}

step { output = output $0 "\n" }

END {
    if (step) {
        count(0)
        printf "--- %s did not end\n%s", step, output
    } else if (!release) {
        count(0)
    }
    print passed + 0, failed + 0, ignored + 0, release ? release : "-"
}
