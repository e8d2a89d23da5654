package schemas

// Table is a table of the catalog and where its data lies.
type Table struct {
	Name     string // catalog.schema.table
	Location string // an absolute path or a URL
}

// Privilege is what a principal may do to a securable, spelt as GRANT spells it.
type Privilege string

// The privileges that a job asks for.
const (
	PrivilegeSelect  Privilege = "SELECT"
	PrivilegeModify  Privilege = "MODIFY"
	PrivilegeExecute Privilege = "EXECUTE"   // on a model service, catalog.schema.name
	PrivilegeQuery   Privilege = "CAN QUERY" // on a serving endpoint
)

// Securable is a kind of thing that privileges are granted on.
type Securable string

// The kinds.
const (
	SecurableTable    Securable = "TABLE"
	SecurableEndpoint Securable = "ENDPOINT"
)

// Need is one privilege that a job must hold before it starts.
type Need struct {
	Privilege Privilege
	Kind      Securable
	Name      string
}
