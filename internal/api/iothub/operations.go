package iothub

import "dunlin/internal/trust/access"

// operation is one method on one path.
type operation struct {
	method string
	path   string // {device} and {module} stand for one segment
	need   access.Permission
	since  string // oldest api-version
	run    func(c *call) error
	// test names the tests that show it, with "|" between them: functions, or
	// rows of conformance scripts such as "TestNodeTwins/get a twin". They stand
	// in docs/compat, which `make compat` writes.
	test string
}

// Oldest versions that the SDKs in the field send.
const (
	versionDevices = "2015-08-15-preview"
	versionModules = "2017-08-21-preview"
	versionDigital = "2020-09-30"
)

// operations is all that this surface can do.
var operations = [...]operation{
	{"GET", "/devices", access.RegistryRead, versionDevices, listDevices, "TestListDevices|TestNodeRegistry/a hundred devices with one call|TestNodeRegistry/lists have a length"},
	{"POST", "/devices", access.RegistryWrite, versionDevices, bulkDevices, "TestBulk|TestNodeRegistry/a hundred devices with one call|TestNodeRegistry/a bulk call changes twins"},
	{"GET", "/devices/{device}", access.RegistryRead, versionDevices, getDevice, "TestDeviceLife|TestNodeRegistry/a device is read"},
	{"PUT", "/devices/{device}", access.RegistryWrite, versionDevices, putDevice, "TestDeviceLife|TestNodeRegistry/a device is created, with keys|TestNodeRegistry/a device is changed"},
	{"DELETE", "/devices/{device}", access.RegistryWrite, versionDevices, deleteDevice, "TestDeviceLife|TestNodeRegistry/a device is deleted"},
	{"GET", "/devices/{device}/modules", access.RegistryRead, versionModules, listModules, "TestModuleLife|TestNodeRegistry/modules are created, read, listed, changed and removed"},
	{"GET", "/devices/{device}/modules/{module}", access.RegistryRead, versionModules, getModule, "TestModuleLife|TestNodeRegistry/modules are created, read, listed, changed and removed"},
	{"PUT", "/devices/{device}/modules/{module}", access.RegistryWrite, versionModules, putModule, "TestModuleLife|TestNodeRegistry/modules are created, read, listed, changed and removed"},
	{"DELETE", "/devices/{device}/modules/{module}", access.RegistryWrite, versionModules, deleteModule, "TestModuleLife|TestNodeRegistry/modules are created, read, listed, changed and removed"},
	{"GET", "/statistics/devices", access.RegistryRead, versionDevices, deviceStatistics, "TestStatistics|TestNodeRegistry/statistics"},
	{"GET", "/statistics/service", access.RegistryRead, versionDevices, serviceStatistics, "TestStatistics|TestNodeRegistry/statistics"},
	{"GET", "/twins/{device}", access.ServiceConnect, versionDevices, getTwin, "TestTwinLife|TestNodeTwins/a new twin as the service reads it"},
	{"PATCH", "/twins/{device}", access.ServiceConnect, versionDevices, patchTwin, "TestTwinLife|TestNodeTwins/the device is told of desired changes in order"},
	{"PUT", "/twins/{device}", access.ServiceConnect, versionDevices, putTwin, "TestTwinLife|TestNodeTwins/a replaced twin is told whole"},
	{"GET", "/twins/{device}/modules/{module}", access.ServiceConnect, versionModules, getTwin, "TestTwinOfModule|TestNodeTwins/the twin of a module"},
	{"PATCH", "/twins/{device}/modules/{module}", access.ServiceConnect, versionModules, patchTwin, "TestTwinOfModule|TestNodeTwins/the twin of a module"},
	{"PUT", "/twins/{device}/modules/{module}", access.ServiceConnect, versionModules, putTwin, "TestTwinOfModule|TestNodeTwins/the twin of a module is replaced"},
	{"POST", "/twins/{device}/methods", access.ServiceConnect, versionDevices, invokeMethod, "TestInvokeMethod|TestNodeMethods/a call with payload and status"},
	{"POST", "/twins/{device}/modules/{module}/methods", access.ServiceConnect, versionModules, invokeMethod, "TestInvokeMethod|TestNodeMethods/methods of a module"},
	{"POST", "/devices/query", access.ServiceConnect, versionDevices, queryDevices, "TestQueryDevices|TestNodeQueries/twins by tags|TestNodeQueries/pages"},
	{"POST", "/jobs/create", access.RegistryWrite, versionDevices, createTransfer, "TestTransfers|TestNodeTransfers/identities are exported, and imported again"},
	{"GET", "/jobs", access.RegistryRead, versionDevices, listTransfers, "TestTransfers|TestNodeTransfers/jobs are listed, and what is over cannot be cancelled"},
	{"GET", "/jobs/{job}", access.RegistryRead, versionDevices, getTransfer, "TestTransfers|TestNodeTransfers/identities are exported, and imported again"},
	{"DELETE", "/jobs/{job}", access.RegistryWrite, versionDevices, deleteTransfer, "TestTransfers|TestNodeTransfers/jobs are listed, and what is over cannot be cancelled"},
	{"GET", "/jobs/v2/query", access.ServiceConnect, versionDevices, listJobs, "TestJobs|TestNodeJobs/jobs are listed by type and status|TestNodeJobs/pages of jobs"}, // before the job of that name
	{"PUT", "/jobs/v2/{job}", access.ServiceConnect, versionDevices, putJob, "TestJobs|TestNodeJobs/twins are updated by a condition|TestNodeJobs/methods are called by a condition"},
	{"GET", "/jobs/v2/{job}", access.ServiceConnect, versionDevices, getJob, "TestJobs|TestNodeJobs/twins are updated by a condition"},
	{"POST", "/jobs/v2/{job}/cancel", access.ServiceConnect, versionDevices, cancelJob, "TestJobs|TestNodeJobs/a job that begins later can be cancelled"},
	{"GET", "/configurations", access.RegistryRead, versionModules, listConfigurations, "TestConfigurationLife|TestNodeConfigurations/a configuration is added, read, listed and removed"},
	{"POST", "/configurations/testQueries", access.RegistryRead, versionModules, testConfiguration, "TestConfigurationQueries|TestNodeConfigurations/queries are tested before they are used"},
	{"GET", "/configurations/{configuration}", access.RegistryRead, versionModules, getConfiguration, "TestConfigurationLife|TestNodeConfigurations/a configuration is added, read, listed and removed"},
	{"PUT", "/configurations/{configuration}", access.RegistryWrite, versionModules, putConfiguration, "TestConfigurationLife|TestNodeConfigurations/it brings those that it targets in line, and tells them|TestNodeConfigurations/it is updated with its etag, its content never"},
	{"DELETE", "/configurations/{configuration}", access.RegistryWrite, versionModules, deleteConfiguration, "TestConfigurationLife|TestNodeConfigurations/a configuration is added, read, listed and removed"},
	{"POST", "/devices/{device}/applyConfigurationContent", access.RegistryWrite, versionModules, applyConfiguration, "TestApplyConfigurationContent|TestNodeConfigurations/content is applied to one device"},
	{"POST", "/messages/devicebound", access.ServiceConnect, versionDevices, sendMessage, "TestSendMessage|TestNodeMessages/a message with properties reaches the device"},
	{"DELETE", "/devices/{device}/commands", access.ServiceConnect, versionDevices, purgeMessages, "TestPurgeMessages|TestNodeMessages/a purge empties the queue"},
	{"GET", "/messages/servicebound/feedback", access.ServiceConnect, versionDevices, receiveFeedback, "TestFeedback|TestNodeMessages/the sender hears what became of messages"},
	{"DELETE", "/messages/servicebound/feedback/{token}", access.ServiceConnect, versionDevices, completeFeedback, "TestFeedback|TestNodeMessages/the sender hears what became of messages"},
	{"POST", "/messages/servicebound/feedback/{token}/abandon", access.ServiceConnect, versionDevices, abandonFeedback, "TestFeedback|TestNodeMessages/the sender hears what became of messages"},
	{"GET", "/messages/servicebound/filenotifications", access.ServiceConnect, versionDevices, receiveNotification, "TestFileNotifications|TestNodeUploads/a small file"},
	{"DELETE", "/messages/servicebound/filenotifications/{token}", access.ServiceConnect, versionDevices, completeNotification, "TestFileNotifications|TestNodeUploads/a small file"},
	{"POST", "/messages/servicebound/filenotifications/{token}/abandon", access.ServiceConnect, versionDevices, abandonNotification, "TestFileNotifications|TestNodeUploads/a notification that is abandoned comes again"},
	{"GET", "/digitaltwins/{device}", access.ServiceConnect, versionDigital, getDigitalTwin, "TestDigitalTwin|TestNodePlugAndPlay/a digital twin shows values by component, and when they were reported"},
	{"PATCH", "/digitaltwins/{device}", access.ServiceConnect, versionDigital, patchDigitalTwin, "TestDigitalTwin|TestNodePlugAndPlay/a writable property is written, told to the device and acknowledged"},
	{"POST", "/digitaltwins/{device}/commands/{command}", access.ServiceConnect, versionDigital, invokeCommand, "TestDigitalTwinCommands|TestNodePlugAndPlay/commands of the root and of components"},
	{"POST", "/digitaltwins/{device}/components/{component}/commands/{command}", access.ServiceConnect, versionDigital, invokeCommand, "TestDigitalTwinCommands|TestNodePlugAndPlay/commands of the root and of components"},
}

// missing lists public operations that this build does not have; they answer
// OperationNotAvailableInCurrentTier instead of a path that nobody knows.
var missing = [...]operation{
	{"POST", "/twins/{device}/streams/{token}", access.ServiceConnect, versionModules, notAvailable, "TestMissingOperations"},
}
