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
	{"GET", "/devices", access.RegistryRead, versionDevices, listDevices, "TestListDevices"},
	{"POST", "/devices", access.RegistryWrite, versionDevices, bulkDevices, "TestBulk"},
	{"GET", "/devices/{device}", access.RegistryRead, versionDevices, getDevice, "TestDeviceLife"},
	{"PUT", "/devices/{device}", access.RegistryWrite, versionDevices, putDevice, "TestDeviceLife"},
	{"DELETE", "/devices/{device}", access.RegistryWrite, versionDevices, deleteDevice, "TestDeviceLife"},
	{"GET", "/devices/{device}/modules", access.RegistryRead, versionModules, listModules, "TestModuleLife"},
	{"GET", "/devices/{device}/modules/{module}", access.RegistryRead, versionModules, getModule, "TestModuleLife"},
	{"PUT", "/devices/{device}/modules/{module}", access.RegistryWrite, versionModules, putModule, "TestModuleLife"},
	{"DELETE", "/devices/{device}/modules/{module}", access.RegistryWrite, versionModules, deleteModule, "TestModuleLife"},
	{"GET", "/statistics/devices", access.RegistryRead, versionDevices, deviceStatistics, "TestStatistics"},
	{"GET", "/statistics/service", access.RegistryRead, versionDevices, serviceStatistics, "TestStatistics"},
	{"GET", "/twins/{device}", access.ServiceConnect, versionDevices, getTwin, "TestTwinLife"},
	{"PATCH", "/twins/{device}", access.ServiceConnect, versionDevices, patchTwin, "TestTwinLife"},
	{"PUT", "/twins/{device}", access.ServiceConnect, versionDevices, putTwin, "TestTwinLife"},
	{"GET", "/twins/{device}/modules/{module}", access.ServiceConnect, versionModules, getTwin, "TestTwinOfModule"},
	{"PATCH", "/twins/{device}/modules/{module}", access.ServiceConnect, versionModules, patchTwin, "TestTwinOfModule"},
	{"PUT", "/twins/{device}/modules/{module}", access.ServiceConnect, versionModules, putTwin, "TestTwinOfModule"},
	{"POST", "/twins/{device}/methods", access.ServiceConnect, versionDevices, invokeMethod, "TestInvokeMethod"},
	{"POST", "/twins/{device}/modules/{module}/methods", access.ServiceConnect, versionModules, invokeMethod, "TestInvokeMethod"},
	{"POST", "/devices/query", access.ServiceConnect, versionDevices, queryDevices, "TestQueryDevices"},
	{"GET", "/jobs/v2/query", access.ServiceConnect, versionDevices, listJobs, "TestJobs"}, // before the job of that name
	{"PUT", "/jobs/v2/{job}", access.ServiceConnect, versionDevices, putJob, "TestJobs"},
	{"GET", "/jobs/v2/{job}", access.ServiceConnect, versionDevices, getJob, "TestJobs"},
	{"POST", "/jobs/v2/{job}/cancel", access.ServiceConnect, versionDevices, cancelJob, "TestJobs"},
	{"GET", "/configurations", access.RegistryRead, versionModules, listConfigurations, "TestConfigurationLife"},
	{"POST", "/configurations/testQueries", access.RegistryRead, versionModules, testConfiguration, "TestConfigurationQueries"},
	{"GET", "/configurations/{configuration}", access.RegistryRead, versionModules, getConfiguration, "TestConfigurationLife"},
	{"PUT", "/configurations/{configuration}", access.RegistryWrite, versionModules, putConfiguration, "TestConfigurationLife"},
	{"DELETE", "/configurations/{configuration}", access.RegistryWrite, versionModules, deleteConfiguration, "TestConfigurationLife"},
	{"POST", "/devices/{device}/applyConfigurationContent", access.RegistryWrite, versionModules, applyConfiguration, "TestApplyConfigurationContent"},
	{"POST", "/messages/devicebound", access.ServiceConnect, versionDevices, sendMessage, "TestSendMessage"},
	{"DELETE", "/devices/{device}/commands", access.ServiceConnect, versionDevices, purgeMessages, "TestPurgeMessages"},
	{"GET", "/messages/servicebound/feedback", access.ServiceConnect, versionDevices, receiveFeedback, "TestFeedback"},
	{"DELETE", "/messages/servicebound/feedback/{token}", access.ServiceConnect, versionDevices, completeFeedback, "TestFeedback"},
	{"POST", "/messages/servicebound/feedback/{token}/abandon", access.ServiceConnect, versionDevices, abandonFeedback, "TestFeedback"},
	{"GET", "/messages/servicebound/filenotifications", access.ServiceConnect, versionDevices, receiveNotification, "TestFileNotifications"},
	{"DELETE", "/messages/servicebound/filenotifications/{token}", access.ServiceConnect, versionDevices, completeNotification, "TestFileNotifications"},
	{"POST", "/messages/servicebound/filenotifications/{token}/abandon", access.ServiceConnect, versionDevices, abandonNotification, "TestFileNotifications"},
	{"GET", "/digitaltwins/{device}", access.ServiceConnect, versionDigital, getDigitalTwin, "TestDigitalTwin"},
	{"PATCH", "/digitaltwins/{device}", access.ServiceConnect, versionDigital, patchDigitalTwin, "TestDigitalTwin"},
	{"POST", "/digitaltwins/{device}/commands/{command}", access.ServiceConnect, versionDigital, invokeCommand, "TestDigitalTwinCommands"},
	{"POST", "/digitaltwins/{device}/components/{component}/commands/{command}", access.ServiceConnect, versionDigital, invokeCommand, "TestDigitalTwinCommands"},
}

// missing lists public operations that this build does not have; they answer
// OperationNotAvailableInCurrentTier instead of a path that nobody knows.
var missing = [...]operation{
	{"GET", "/jobs", access.RegistryRead, versionDevices, notAvailable, "TestMissingOperations"},
	{"POST", "/jobs/create", access.RegistryWrite, versionDevices, notAvailable, "TestMissingOperations"},
}
