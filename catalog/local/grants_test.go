package local

import (
	"errors"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/schemas"
)

const securables = `principal: etl@example.com
tables: {main.support.tickets: {location: ./t}, main.support.triaged: {location: ./o}}
endpoints:
- {name: triage, embedded: sentiment}
- {name: main.ai.triage, embedded: sentiment}
groups: {staff: [analysts], analysts: [etl@example.com], loop: [loop], others: [someone]}
`

func TestAuthorize(t *testing.T) {
	t.Parallel()
	read1 := schemas.Need{Privilege: schemas.PrivilegeSelect, Kind: schemas.SecurableTable, Name: "main.support.tickets"}
	write1 := schemas.Need{Privilege: schemas.PrivilegeModify, Kind: schemas.SecurableTable, Name: "main.support.tickets"}
	ask := schemas.Need{Privilege: schemas.PrivilegeQuery, Kind: schemas.SecurableEndpoint, Name: "triage"}
	askService := schemas.Need{Privilege: schemas.PrivilegeQuery, Kind: schemas.SecurableEndpoint, Name: "main.ai.triage"}
	executeService := schemas.Need{Privilege: schemas.PrivilegeExecute, Kind: schemas.SecurableEndpoint, Name: "main.ai.triage"}
	view := schemas.Need{Privilege: canView, Kind: schemas.SecurableEndpoint, Name: "triage"}
	manage := schemas.Need{Privilege: canManage, Kind: schemas.SecurableEndpoint, Name: "triage"}
	grant := func(on, principal, privileges string) string {
		return "grants: [{on: " + on + ", principal: " + principal + ", privileges: [" + privileges + "]}]\n"
	}
	const me = "etl@example.com"
	for name, test := range map[string]struct {
		grants string
		need   schemas.Need
		held   bool
	}{
		"no grants key: the owner":       {"", write1, true},
		"no grants in it: nobody":        {"grants: []\n", read1, false},
		"on the table":                   {grant("main.support.tickets", me, "SELECT"), read1, true},
		"another privilege":              {grant("main.support.tickets", me, "SELECT"), write1, false},
		"another table":                  {grant("main.support.triaged", me, "SELECT"), read1, false},
		"another principal":              {grant("main.support.tickets", "someone", "SELECT"), read1, false},
		"on the schema":                  {grant("main.support", me, "SELECT"), read1, true},
		"on another schema":              {grant("main.ai", me, "SELECT"), read1, false},
		"on the catalog":                 {grant("main", me, "SELECT, MODIFY"), write1, true},
		"all privileges":                 {grant("main", me, "all_privileges"), write1, true},
		"spelt loosely":                  {grant("main", me, "select"), read1, true},
		"to a group":                     {grant("main", "analysts", "SELECT"), read1, true},
		"to a group of groups":           {grant("main", "staff", "SELECT"), read1, true},
		"to a group of others":           {grant("main", "others", "SELECT"), read1, false},
		"query":                          {grant("triage", me, "CAN_QUERY"), ask, true},
		"manage includes query":          {grant("triage", me, "CAN MANAGE"), ask, true},
		"view does not":                  {grant("triage", me, "CAN_VIEW"), ask, false},
		"query includes view":            {grant("triage", me, "CAN QUERY"), view, true},
		"query does not include manage":  {grant("triage", me, "CAN QUERY"), manage, false},
		"execute is query":               {grant("triage", me, "EXECUTE"), ask, true},
		"select is not":                  {grant("triage", me, "SELECT"), ask, false},
		"a service by name":              {grant("main.ai.triage", me, "EXECUTE"), executeService, true},
		"a service asked for by query":   {grant("main.ai.triage", me, "EXECUTE"), askService, true},
		"a service by catalog":           {grant("main", me, "EXECUTE"), executeService, true},
		"select on the catalog does not": {grant("main", me, "SELECT"), executeService, false},
		"levels are not inherited":       {grant("main", me, "CAN MANAGE"), executeService, false},
		"a service is no endpoint":       {grant("main.ai.triage", me, "EXECUTE"), ask, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			catalog, err := read(t, "catalog.yaml", securables+test.grants)
			if err != nil {
				t.Fatal(err)
			}
			err = catalog.Authorize(t.Context(), []schemas.Need{test.need})
			if test.held != (err == nil) || (err != nil && !errors.Is(err, schemas.ErrPermission)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestAuthorizeSaysHowToMend reports everything that is missing, once each, and the grants that it asks for
// are enough.
func TestAuthorizeSaysHowToMend(t *testing.T) {
	t.Parallel()
	needs := []schemas.Need{
		{Privilege: "SELECT", Kind: "TABLE", Name: "main.support.tickets"},
		{Privilege: "MODIFY", Kind: "TABLE", Name: "main.support.triaged"},
		{Privilege: "MODIFY", Kind: "TABLE", Name: "main.support.triaged"},
		{Privilege: "EXECUTE", Kind: "ENDPOINT", Name: "triage"},
		{Privilege: "CAN QUERY", Kind: "ENDPOINT", Name: "main.ai.triage"},
		{Privilege: "SELECT", Kind: "TABLE", Name: "main.my-schema.t"},
	}
	catalog, err := read(t, "catalog.yaml", securables+"grants: [{on: main.support, principal: staff, privileges: [SELECT]}]\n")
	if err != nil {
		t.Fatal(err)
	}
	err = catalog.Authorize(t.Context(), needs)
	const want = "permission denied: etl@example.com lacks MODIFY on TABLE main.support.triaged; " +
		"CAN QUERY on SERVING ENDPOINT triage; EXECUTE on MODEL SERVICE main.ai.triage; SELECT on TABLE main.my-schema.t\n" +
		"  GRANT MODIFY ON TABLE main.support.triaged TO `etl@example.com`;\n" +
		"  or under `grants:` in catalog.yaml: - {on: main.support.triaged, principal: etl@example.com, privileges: [MODIFY]}\n" +
		"  GRANT CAN QUERY ON SERVING ENDPOINT triage TO `etl@example.com`;\n" +
		"  or under `grants:` in catalog.yaml: - {on: triage, principal: etl@example.com, privileges: [CAN QUERY]}\n" +
		"  GRANT EXECUTE ON MODEL SERVICE main.ai.triage TO `etl@example.com`;\n" +
		"  or under `grants:` in catalog.yaml: - {on: main.ai.triage, principal: etl@example.com, privileges: [EXECUTE]}\n" +
		"  GRANT SELECT ON TABLE main.`my-schema`.t TO `etl@example.com`;\n" +
		"  or under `grants:` in catalog.yaml: - {on: main.my-schema.t, principal: etl@example.com, privileges: [SELECT]}"
	if err == nil || err.Error() != want {
		t.Fatalf("got\n%v\nwant\n%s", err, want)
	}
	if schemas.ClassOf(err) != schemas.Fatal || !errors.Is(err, schemas.ErrPermission) {
		t.Errorf("got %v", err)
	}

	var text strings.Builder
	text.WriteString(securables + "grants:\n- {on: main.support, principal: staff, privileges: [SELECT]}\n")
	for line := range strings.Lines(err.Error()) {
		if _, entry, ok := strings.Cut(strings.TrimSpace(line), "catalog.yaml: "); ok && !strings.Contains(entry, "my-schema") {
			text.WriteString(entry + "\n")
		}
	}
	mended, err := read(t, "catalog.yaml", text.String())
	if err != nil {
		t.Fatalf("the grants asked for cannot be pasted in: %v", err)
	}
	if err := mended.Authorize(t.Context(), needs[:5]); err != nil {
		t.Errorf("the grants asked for are not enough: %v", err)
	}
}
