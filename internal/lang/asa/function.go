package asa

import "strings"

// Class says where a function may be called.
type Class uint8

// The classes of functions.
const (
	Scalar    Class = iota // of one row
	Grouping               // of the rows of a group, and with LIMIT DURATION of the rows before
	History                // of the rows before: needs OVER
	Metadata               // of the source
	TableLike              // only in APPLY
)

// Function is one built-in function.
type Function struct {
	Name     string // in the spelling of the documentation
	Class    Class
	Min, Max int // arguments; Max -1: any number
	// Args are the types of arguments, the last for all that follow; Any takes
	// what comes. Where a type is asked for, values of others are converted.
	Args   []Type
	Result Type // Any: that of an argument, or it depends on the event
	Unit   bool // the first argument is a unit of time
	// Over: a Grouping function that can be used with LIMIT DURATION.
	Over bool
	// Order: needs ORDER BY in its OVER.
	Order bool
}

// number stands for bigint or float in signatures: a float argument takes both.
const number = Float

var functions = [...]Function{
	{Name: "ABS", Min: 1, Max: 1, Args: []Type{number}},
	{Name: "CEILING", Min: 1, Max: 1, Args: []Type{number}},
	{Name: "EXP", Min: 1, Max: 1, Args: []Type{number}, Result: Float},
	{Name: "FLOOR", Min: 1, Max: 1, Args: []Type{number}},
	{Name: "POWER", Min: 2, Max: 2, Args: []Type{number}},
	{Name: "ROUND", Min: 2, Max: 2, Args: []Type{number, Bigint}},
	{Name: "SIGN", Min: 1, Max: 1, Args: []Type{number}},
	{Name: "SQUARE", Min: 1, Max: 1, Args: []Type{number}, Result: Float},
	{Name: "SQRT", Min: 1, Max: 1, Args: []Type{number}, Result: Float},

	{Name: "CHARINDEX", Min: 2, Max: 3, Args: []Type{NVarchar, NVarchar, Bigint}, Result: Bigint},
	{Name: "CONCAT", Min: 1, Max: -1, Args: []Type{Any}, Result: NVarchar},
	{Name: "CONCAT_WS", Min: 2, Max: -1, Args: []Type{NVarchar, Any}, Result: NVarchar},
	{Name: "LEN", Min: 1, Max: 1, Args: []Type{NVarchar}, Result: Bigint},
	{Name: "LOWER", Min: 1, Max: 1, Args: []Type{NVarchar}, Result: NVarchar},
	{Name: "UPPER", Min: 1, Max: 1, Args: []Type{NVarchar}, Result: NVarchar},
	{Name: "REVERSE", Min: 1, Max: 1, Args: []Type{NVarchar}, Result: NVarchar},
	{Name: "SPACE", Min: 1, Max: 1, Args: []Type{Bigint}, Result: NVarchar},
	{Name: "NCHAR", Min: 1, Max: 1, Args: []Type{Bigint}, Result: NVarchar},
	{Name: "UNICODE", Min: 1, Max: 1, Args: []Type{NVarchar}, Result: Bigint},
	{Name: "LEFT", Min: 2, Max: 2, Args: []Type{NVarchar, Bigint}, Result: NVarchar},
	{Name: "RIGHT", Min: 2, Max: 2, Args: []Type{NVarchar, Bigint}, Result: NVarchar},
	{Name: "LTRIM", Min: 1, Max: 1, Args: []Type{NVarchar}, Result: NVarchar},
	{Name: "RTRIM", Min: 1, Max: 1, Args: []Type{NVarchar}, Result: NVarchar},
	{Name: "TRIM", Min: 1, Max: 1, Args: []Type{NVarchar}, Result: NVarchar},
	{Name: "PATINDEX", Min: 2, Max: 2, Args: []Type{NVarchar}, Result: Bigint},
	{Name: "REGEXMATCH", Min: 2, Max: 2, Args: []Type{NVarchar}, Result: Bigint},
	{Name: "REPLACE", Min: 3, Max: 3, Args: []Type{NVarchar}, Result: NVarchar},
	{Name: "REPLICATE", Min: 2, Max: 2, Args: []Type{NVarchar, Bigint}, Result: NVarchar},
	{Name: "STUFF", Min: 4, Max: 4, Args: []Type{NVarchar, Bigint, Bigint, NVarchar}, Result: NVarchar},
	{Name: "SUBSTRING", Min: 3, Max: 3, Args: []Type{NVarchar, Bigint, Bigint}, Result: NVarchar},
	{Name: "TRANSLATE", Min: 3, Max: 3, Args: []Type{NVarchar}, Result: NVarchar},
	{Name: "JSON_PARSE", Min: 1, Max: 1, Args: []Type{NVarchar}},

	{Name: "DATEADD", Min: 3, Max: 3, Args: []Type{Any, number, Datetime}, Result: Datetime, Unit: true},
	{Name: "DATEDIFF", Min: 3, Max: 3, Args: []Type{Any, Datetime}, Result: Bigint, Unit: true},
	{Name: "DATENAME", Min: 2, Max: 2, Args: []Type{Any, Datetime}, Result: NVarchar, Unit: true},
	{Name: "DATEPART", Min: 2, Max: 2, Args: []Type{Any, Datetime}, Result: Bigint, Unit: true},
	{Name: "DAY", Min: 1, Max: 1, Args: []Type{Datetime}, Result: Bigint},
	{Name: "MONTH", Min: 1, Max: 1, Args: []Type{Datetime}, Result: Bigint},
	{Name: "YEAR", Min: 1, Max: 1, Args: []Type{Datetime}, Result: Bigint},
	{Name: "DATETIMEFROMPARTS", Min: 7, Max: 7, Args: []Type{Bigint}, Result: Datetime},

	{Name: "GetArrayElement", Min: 2, Max: 2, Args: []Type{Array, Bigint}},
	{Name: "GetArrayLength", Min: 1, Max: 1, Args: []Type{Array}, Result: Bigint},
	{Name: "GetRecordPropertyValue", Min: 2, Max: 2, Args: []Type{Record, NVarchar}},
	{Name: "GetType", Min: 1, Max: 1, Args: []Type{Any}, Result: NVarchar},
	{Name: "COALESCE", Min: 1, Max: -1, Args: []Type{Any}},
	{Name: "NULLIF", Min: 2, Max: 2, Args: []Type{Any}},
	{Name: "GetMetadataPropertyValue", Class: Metadata, Min: 2, Max: 2, Args: []Type{Any, NVarchar}},
	{Name: "GetArrayElements", Class: TableLike, Min: 1, Max: 1},
	{Name: "GetRecordProperties", Class: TableLike, Min: 1, Max: 1},

	{Name: "CreatePoint", Min: 2, Max: 2, Args: []Type{number}, Result: Record},
	{Name: "CreateLineString", Min: 2, Max: -1, Args: []Type{Any}, Result: Record},
	{Name: "CreatePolygon", Min: 3, Max: -1, Args: []Type{Any}, Result: Record},
	{Name: "ST_DISTANCE", Min: 2, Max: 2, Args: []Type{Any}, Result: Float},
	{Name: "ST_WITHIN", Min: 2, Max: 2, Args: []Type{Any}, Result: Bigint},
	{Name: "ST_OVERLAPS", Min: 2, Max: 2, Args: []Type{Any}, Result: Bigint},
	{Name: "ST_INTERSECTS", Min: 2, Max: 2, Args: []Type{Any}, Result: Bigint},

	{Name: "COUNT", Class: Grouping, Max: 1, Args: []Type{Any}, Result: Bigint, Over: true},
	{Name: "SUM", Class: Grouping, Min: 1, Max: 1, Args: []Type{number}, Over: true},
	{Name: "AVG", Class: Grouping, Min: 1, Max: 1, Args: []Type{number}, Result: Float, Over: true},
	{Name: "MIN", Class: Grouping, Min: 1, Max: 1, Args: []Type{Any}, Over: true},
	{Name: "MAX", Class: Grouping, Min: 1, Max: 1, Args: []Type{Any}, Over: true},
	{Name: "STDEV", Class: Grouping, Min: 1, Max: 1, Args: []Type{number}, Result: Float},
	{Name: "STDEVP", Class: Grouping, Min: 1, Max: 1, Args: []Type{number}, Result: Float},
	{Name: "VAR", Class: Grouping, Min: 1, Max: 1, Args: []Type{number}, Result: Float},
	{Name: "VARP", Class: Grouping, Min: 1, Max: 1, Args: []Type{number}, Result: Float},
	{Name: "PERCENTILE_CONT", Class: Grouping, Min: 1, Max: 1, Args: []Type{number}, Result: Float, Order: true},
	{Name: "PERCENTILE_DISC", Class: Grouping, Min: 1, Max: 1, Args: []Type{number}, Order: true},
	{Name: "Collect", Class: Grouping, Max: 1, Args: []Type{Any}, Result: Array, Over: true},
	{Name: "TopOne", Class: Grouping, Max: 1, Args: []Type{Any}, Over: true, Order: true},
	{Name: "CollectTop", Class: Grouping, Min: 1, Max: 2, Args: []Type{Bigint, Any}, Result: Array, Over: true, Order: true},

	{Name: "LAG", Class: History, Min: 1, Max: 3, Args: []Type{Any, Bigint, Any}},
	{Name: "LAST", Class: History, Min: 1, Max: 2, Args: []Type{Any}},
	{Name: "ISFIRST", Class: History, Min: 2, Max: 2, Args: []Type{Any, Bigint}, Result: Bigint, Unit: true},
	{Name: "AnomalyDetection_SpikeAndDip", Class: History, Min: 4, Max: 4, Args: []Type{number, number, Bigint, NVarchar}, Result: Record},
	{Name: "AnomalyDetection_ChangePoint", Class: History, Min: 3, Max: 3, Args: []Type{number, number, Bigint}, Result: Record},
	{Name: "AnomalyScore", Class: History, Min: 1, Max: 1, Args: []Type{number}, Result: Float},
}

var functionIndex = func() map[string]*Function {
	m := make(map[string]*Function, len(functions))
	for i := range functions {
		m[strings.ToLower(functions[i].Name)] = &functions[i]
	}
	return m
}()

// FunctionOf finds a built-in function by its name in any case; nil when there
// is none.
func FunctionOf(name string) *Function { return functionIndex[strings.ToLower(name)] }

// arg is the type of the i-th argument.
func (f *Function) arg(i int) Type {
	if len(f.Args) == 0 {
		return Any
	}
	return f.Args[min(i, len(f.Args)-1)]
}

func functionNames() []string {
	names := make([]string, len(functions))
	for i := range functions {
		names[i] = functions[i].Name
	}
	return names
}

// Names lists the built-in functions of a class.
func Names(c Class) (names []string) {
	for i := range functions {
		if functions[i].Class == c {
			names = append(names, functions[i].Name)
		}
	}
	return names
}
