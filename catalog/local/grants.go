package local

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/schemas"
)

const (
	allPrivileges schemas.Privilege = "ALL PRIVILEGES"
	canView       schemas.Privilege = "CAN VIEW"
	canManage     schemas.Privilege = "CAN MANAGE"
)

// known are the privileges that a grant may name.
func known() []string {
	return []string{
		string(schemas.PrivilegeSelect), string(schemas.PrivilegeModify), string(schemas.PrivilegeExecute),
		"USE CATALOG", "USE SCHEMA", string(allPrivileges),
		string(canView), string(schemas.PrivilegeQuery), string(canManage),
	}
}

// grant gives a principal or a group privileges on a securable and all that is in it.
type grant struct {
	On         string   `yaml:"on"`
	Principal  string   `yaml:"principal"`
	Privileges []string `yaml:"privileges"` // normal spelling, once the catalog is open
}

// grants checks the grants against the names of the catalog and spells their privileges as known does.
func (b *builder) grants(catalog *Catalog) []grant {
	securables := map[string]bool{} // name: whether it is a catalog or a schema
	for name := range catalog.tables {
		addParents(securables, name)
		securables[name] = false
	}
	plain := map[string]bool{}
	for name := range catalog.endpoints {
		if strings.Contains(name, ".") {
			addParents(securables, name)
			securables[name] = false
		} else {
			plain[name] = true
		}
	}
	names := make([]string, 0, len(securables)+len(plain))
	for name := range securables {
		names = append(names, name)
	}
	for name := range plain {
		names = append(names, name)
	}
	for i := range b.file.Grants {
		given, path := &b.file.Grants[i], []string{"grants", strconv.Itoa(i)}
		holder, known := securables[given.On]
		switch {
		case given.On == "":
			// a fault already
		case !known && !plain[given.On]:
			b.doc.Add("`"+given.On+"` is no table, endpoint, schema or catalog of this file",
				document.DidYouMean(given.On, names), join(path, "on")...)
		case holder && plain[given.On]:
			b.doc.Add("`"+given.On+"` is a catalog and an endpoint, and the grant could mean either",
				"rename the endpoint", join(path, "on")...)
		}
		for j, written := range given.Privileges {
			given.Privileges[j] = b.privilege(written, join(path, "privileges", strconv.Itoa(j)))
		}
	}
	return b.file.Grants
}

// addParents adds the catalog and the schema of a full name.
func addParents(securables map[string]bool, name string) {
	catalog, rest, _ := strings.Cut(name, ".")
	schema, _, _ := strings.Cut(rest, ".")
	securables[catalog] = true
	securables[catalog+"."+schema] = true
}

func (b *builder) privilege(written string, path []string) string {
	normal := normalPrivilege(written)
	if !slices.Contains(known(), normal) {
		b.doc.Add("`"+written+"` is no privilege", document.DidYouMean(normal, known()), path...)
	}
	return normal
}

// normalPrivilege spells a privilege as GRANT does: capitals, single spaces.
func normalPrivilege(written string) string {
	return strings.Join(strings.Fields(strings.ToUpper(strings.ReplaceAll(written, "_", " "))), " ")
}

// Authorize reports every need that the principal does not meet, as one error that is
// schemas.ErrPermission and says for each how it is mended.
func (c *Catalog) Authorize(ctx context.Context, needs []schemas.Need) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.owner {
		return nil
	}
	identities := c.identities()
	var lacks, mends []string
	var seen []schemas.Need
	for _, need := range needs {
		need = normalNeed(need)
		if slices.Contains(seen, need) || c.holds(identities, need) {
			continue
		}
		seen = append(seen, need)
		lacks = append(lacks, fmt.Sprintf("%s on %s %s", need.Privilege, kindOf(need), need.Name))
		mends = append(mends,
			fmt.Sprintf("GRANT %s ON %s %s TO `%s`;", need.Privilege, kindOf(need), quoteName(need.Name),
				strings.ReplaceAll(c.principal, "`", "``")),
			fmt.Sprintf("or under `grants:` in %s: - {on: %s, principal: %s, privileges: [%s]}",
				c.path, scalar(need.Name), scalar(c.principal), need.Privilege))
	}
	if len(lacks) == 0 {
		return nil
	}
	return &schemas.Error{
		Code: "permission_denied", Mend: strings.Join(mends, "\n  "),
		Err: fmt.Errorf("%w: %s lacks %s", schemas.ErrPermission, c.principal, strings.Join(lacks, "; ")),
	}
}

// identities are the principal and every group that it is in, directly or through another.
func (c *Catalog) identities() []string {
	found := []string{c.principal}
	for next := 0; next < len(found); next++ {
		for group, members := range c.groups {
			if slices.Contains(members, found[next]) && !slices.Contains(found, group) {
				found = append(found, group)
			}
		}
	}
	return found
}

func (c *Catalog) holds(identities []string, need schemas.Need) bool {
	for _, given := range c.grants {
		if !slices.Contains(identities, given.Principal) {
			continue
		}
		for _, privilege := range given.Privileges {
			if covers(given.On, schemas.Privilege(privilege), need) && satisfies(schemas.Privilege(privilege), need.Privilege) {
				return true
			}
		}
	}
	return false
}

// covers reports whether a privilege granted on one name reaches the needed one. Privileges are inherited from
// catalogs and schemas; the levels of a serving endpoint are not, as it is in neither.
func covers(on string, privilege schemas.Privilege, need schemas.Need) bool {
	if on == need.Name {
		return true
	}
	return strings.HasPrefix(need.Name, on+".") && !strings.HasPrefix(string(privilege), "CAN ")
}

// satisfies reports whether the granted privilege includes the wanted one. EXECUTE on a model service is what
// CAN QUERY is on a serving endpoint.
func satisfies(granted, wanted schemas.Privilege) bool {
	if granted == allPrivileges || granted == wanted {
		return true
	}
	return level(wanted) > 0 && level(granted) >= level(wanted)
}

func level(privilege schemas.Privilege) int {
	switch privilege {
	case canView:
		return 1
	case schemas.PrivilegeQuery, schemas.PrivilegeExecute:
		return 2
	case canManage:
		return 3
	case schemas.PrivilegeSelect, schemas.PrivilegeModify:
	}
	return 0 // no level of an endpoint
}

// normalNeed names the privilege to query as the kind of endpoint has it.
func normalNeed(need schemas.Need) schemas.Need {
	need.Privilege = schemas.Privilege(normalPrivilege(string(need.Privilege)))
	if need.Kind == schemas.SecurableEndpoint && level(need.Privilege) == level(schemas.PrivilegeQuery) {
		need.Privilege = schemas.PrivilegeQuery
		if strings.Contains(need.Name, ".") {
			need.Privilege = schemas.PrivilegeExecute
		}
	}
	return need
}

// kindOf is the securable's kind as GRANT spells it.
func kindOf(need schemas.Need) string {
	if need.Kind != schemas.SecurableEndpoint {
		return string(need.Kind)
	}
	if strings.Contains(need.Name, ".") {
		return "MODEL SERVICE"
	}
	return "SERVING ENDPOINT"
}

// quoteName quotes the parts of a name that SQL would not read as they are.
func quoteName(name string) string {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(part) {
			parts[i] = "`" + strings.ReplaceAll(part, "`", "``") + "`"
		}
	}
	return strings.Join(parts, ".")
}

// scalar writes text so that YAML reads it as that text.
func scalar(text string) string {
	if regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.@+-]*$`).MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}
