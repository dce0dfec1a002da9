// govmomi: a vSphere client that is not ours. Logs in to -url (with user and password in it), lists all VMs as JSON, and with
// -poweroff NAME powers that one off first. With -watch NAME it waits until the VM is powered off.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// VM is what is printed of each virtual machine.
type VM struct {
	Name       string            `json:"name"`
	Reference  string            `json:"reference"`
	PowerState string            `json:"powerState"`
	IPAddress  string            `json:"ipAddress"`
	GuestInfo  map[string]string `json:"guestinfo"`
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func list(ctx context.Context, client *govmomi.Client) []VM {
	manager := view.NewManager(client.Client)
	all, err := manager.CreateContainerView(ctx, client.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	check(err)
	defer all.Destroy(ctx)
	var found []mo.VirtualMachine
	properties := []string{"name", "runtime.powerState", "guest.ipAddress", "config.extraConfig"}
	check(all.Retrieve(ctx, []string{"VirtualMachine"}, properties, &found))
	vms := []VM{}
	for _, vm := range found {
		one := VM{Name: vm.Name, Reference: vm.Self.Value, PowerState: string(vm.Runtime.PowerState), GuestInfo: map[string]string{}}
		if vm.Guest != nil {
			one.IPAddress = vm.Guest.IpAddress
		}
		if vm.Config != nil {
			for _, option := range vm.Config.ExtraConfig {
				value := option.GetOptionValue()
				if strings.HasPrefix(value.Key, "guestinfo.") {
					one.GuestInfo[value.Key] = fmt.Sprint(value.Value)
				}
			}
		}
		vms = append(vms, one)
	}
	return vms
}

func main() {
	address := flag.String("url", "", "https://user:password@host:port/sdk")
	powerOff := flag.String("poweroff", "", "VM to power off")
	watch := flag.String("watch", "", "VM to wait for until it is powered off")
	flag.Parse()
	u, err := url.Parse(*address)
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client, err := govmomi.NewClient(ctx, u, true)
	check(err)
	defer client.Logout(ctx)
	finder := find.NewFinder(client.Client)
	datacenter, err := finder.DefaultDatacenter(ctx)
	check(err)
	finder.SetDatacenter(datacenter)
	if *powerOff != "" {
		vm, err := finder.VirtualMachine(ctx, *powerOff)
		check(err)
		task, err := vm.PowerOff(ctx)
		check(err)
		_, err = task.WaitForResult(ctx, nil)
		check(err)
	}
	if *watch != "" {
		vm, err := finder.VirtualMachine(ctx, *watch)
		check(err)
		check(waitOff(ctx, client, vm))
	}
	check(json.NewEncoder(os.Stdout).Encode(list(ctx, client)))
}

func waitOff(ctx context.Context, client *govmomi.Client, vm *object.VirtualMachine) error {
	collector := property.DefaultCollector(client.Client)
	return property.Wait(ctx, collector, vm.Reference(), []string{"runtime.powerState"}, func(changes []types.PropertyChange) bool {
		for _, change := range changes {
			if change.Val == types.VirtualMachinePowerStatePoweredOff || change.Val == string(types.VirtualMachinePowerStatePoweredOff) {
				return true
			}
		}
		return false
	})
}
