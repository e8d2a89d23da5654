package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// quote writes a word for a POSIX shell.
func quote(word string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-+=:,./@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// count writes a number with thousands apart.
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for at := len(digits) - 3; at > 0 && digits[at-1] != '-'; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// counted is a number of things: "1 row", "2 rows".
func counted(n int64, thing string) string { return count(n) + " " + thing + plural(n) }

func plural(n int64) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func dollars(amount float64) string {
	if amount > 0 && amount < 1 {
		return fmt.Sprintf("$%.6f", amount)
	}
	return fmt.Sprintf("$%.2f", amount)
}

// cost is what is known of the dollars spent; complete is false where a call had no price.
func cost(amount float64, complete bool) string {
	switch {
	case complete:
		return dollars(amount)
	case amount > 0:
		return "at least " + dollars(amount)
	}
	return "no price known"
}

func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
