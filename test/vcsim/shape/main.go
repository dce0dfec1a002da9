// shape: walks every property of every object of a vSphere server with govmomi, and prints one JSON line per object:
// the type of each property, at every path down to the first array, and the missing required ones.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"sort"
	"strings"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// Object is what is printed.
type Object struct {
	Type     string            `json:"type"`
	Value    string            `json:"value"`
	Types    map[string]string `json:"types"`
	Required []string          `json:"required"`
	Error    string            `json:"error,omitempty"`
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// read requests paths of an object, or all its properties.
func read(ctx context.Context, client *govmomi.Client, ref types.ManagedObjectReference, paths []string) (map[string]interface{}, error) {
	res, err := methods.RetrieveProperties(ctx, client.Client, &types.RetrieveProperties{
		This: client.ServiceContent.PropertyCollector,
		SpecSet: []types.PropertyFilterSpec{{
			PropSet:   []types.PropertySpec{{Type: ref.Type, All: types.NewBool(paths == nil), PathSet: paths}},
			ObjectSet: []types.ObjectSpec{{Obj: ref}},
		}},
	})
	if err != nil {
		return nil, err
	}
	values := map[string]interface{}{}
	for _, object := range res.Returnval {
		for _, missing := range object.MissingSet {
			return nil, fmt.Errorf("%s is missing: %s", missing.Path, missing.Fault.LocalizedMessage)
		}
		for _, property := range object.PropSet {
			values[property.Name] = property.Val
		}
	}
	return values, nil
}

type nested struct {
	path     string
	required bool
}

// walk lists the paths below a value, down to depth `deep`.
func walk(value reflect.Value, path string, deep int, found *[]nested) {
	for value.Kind() == reflect.Interface || value.Kind() == reflect.Ptr {
		if value.IsNil() {
			return
		}
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct || deep == 0 || strings.HasPrefix(value.Type().Name(), "ArrayOf") {
		return
	}
	switch value.Type().Name() {
	case "ManagedObjectReference", "Time":
		return
	}
	for i := 0; i < value.NumField(); i++ {
		field := value.Type().Field(i)
		if field.Anonymous {
			walk(value.Field(i), path, deep, found)
			continue
		}
		tag := strings.Split(field.Tag.Get("xml"), ",")
		kind := field.Type.Kind()
		optional := kind == reflect.Ptr || kind == reflect.Slice
		for _, option := range tag[1:] {
			optional = optional || option == "omitempty"
		}
		at := path + "." + tag[0]
		*found = append(*found, nested{at, !optional})
		if kind != reflect.Slice {
			walk(value.Field(i), at, deep-1, found)
		}
	}
}

func describe(ctx context.Context, client *govmomi.Client, ref types.ManagedObjectReference) Object {
	object := Object{Type: ref.Type, Value: ref.Value, Types: map[string]string{}, Required: []string{}}
	top, err := read(ctx, client, ref, nil)
	if err != nil {
		object.Error = err.Error()
		return object
	}
	var below []nested
	for name, value := range top {
		object.Types[name] = fmt.Sprintf("%T", value)
		walk(reflect.ValueOf(value), name, 4, &below)
	}
	var paths []string
	for _, one := range below {
		paths = append(paths, one.path)
	}
	if len(paths) == 0 {
		return object
	}
	sort.Strings(paths)
	values, err := read(ctx, client, ref, paths)
	if err != nil {
		object.Error = err.Error()
		return object
	}
	for path, value := range values {
		object.Types[path] = fmt.Sprintf("%T", value)
	}
	for _, one := range below {
		parent := one.path[:strings.LastIndex(one.path, ".")]
		if _, there := object.Types[one.path]; one.required && !there && object.Types[parent] != "" {
			object.Required = append(object.Required, one.path)
		}
	}
	sort.Strings(object.Required)
	return object
}

// references returns those in the fields of a struct.
func references(value reflect.Value) []types.ManagedObjectReference {
	var found []types.ManagedObjectReference
	for i := 0; i < value.NumField(); i++ {
		switch ref := value.Field(i).Interface().(type) {
		case types.ManagedObjectReference:
			found = append(found, ref)
		case *types.ManagedObjectReference:
			if ref != nil {
				found = append(found, *ref)
			}
		}
	}
	return found
}

func main() {
	address := flag.String("url", "", "server, with user and password")
	flag.Parse()
	ctx := context.Background()
	u, err := url.Parse(*address)
	check(err)
	client, err := govmomi.NewClient(ctx, u, true)
	check(err)
	all, err := view.NewManager(client.Client).CreateContainerView(ctx, client.ServiceContent.RootFolder, nil, true)
	check(err)
	queue := append([]types.ManagedObjectReference{{Type: "ServiceInstance", Value: "ServiceInstance"}, all.Reference()},
		references(reflect.ValueOf(client.ServiceContent))...)
	seen := map[types.ManagedObjectReference]bool{}
	out := json.NewEncoder(os.Stdout)
	for len(queue) > 0 {
		ref := queue[0]
		queue = queue[1:]
		if seen[ref] {
			continue
		}
		seen[ref] = true
		check(out.Encode(describe(ctx, client, ref)))
		values, err := read(ctx, client, ref, nil)
		if err != nil {
			continue
		}
		for _, value := range values {
			switch value := value.(type) {
			case types.ManagedObjectReference:
				queue = append(queue, value)
			case types.ArrayOfManagedObjectReference:
				queue = append(queue, value.ManagedObjectReference...)
			case types.HostConfigManager:
				queue = append(queue, references(reflect.ValueOf(value))...)
			}
		}
	}
	check(client.Logout(ctx))
}
