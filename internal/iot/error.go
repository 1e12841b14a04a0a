package iot

import (
	"errors"
	"fmt"
	"time"
)

// Code is a documented error number: the HTTP status times 1000 plus a detail.
type Code int

// The documented codes that this build answers. Doors translate them, each
// once, to their protocol.
const (
	BadRequest              Code = 400000
	InvalidProtocolVersion  Code = 400001
	InvalidOperation        Code = 400003
	ArgumentInvalid         Code = 400004
	ArgumentNull            Code = 400005
	IotHubFormatError       Code = 400006
	InvalidSchemaVersion    Code = 400010
	DeviceDefinedTwice      Code = 400011
	InvalidCorrelationID    Code = 400015
	ExpiredCorrelationID    Code = 400016
	InvalidUploadStatus     Code = 400019
	InvalidBlob             Code = 400020
	RequestCanceled         Code = 400021
	DeserializationError    Code = 400012
	BulkOperationFailure    Code = 400013
	ReplacedByNewConnection Code = 400027
	InvalidDeviceScope      Code = 400028

	InvalidDigitalTwinJSONPatch Code = 400505
	InvalidDigitalTwinPayload   Code = 400506
	InvalidDigitalTwinPatch     Code = 400507
	InvalidDigitalTwinPatchPath Code = 400508

	InvalidConfigurationTarget  Code = 400401
	InvalidConfigurationContent Code = 400402
	ConfigurationContentFixed   Code = 400403
	InvalidConfigurationMetrics Code = 400404
	Unauthorized                Code = 401000
	HubNotFound                 Code = 401001
	UnauthorizedAccess          Code = 401002
	HubUnauthorized             Code = 401003
	SystemModuleUnauthorized    Code = 401100
	Forbidden                   Code = 403000
	JobQuotaExceeded            Code = 403003
	QueueDepthExceeded          Code = 403004
	TooManyUploads              Code = 403006
	InvalidMessageExpiry        Code = 403009
	OperationNotAvailable       Code = 403010
	DeviceDisabled              Code = 403012
	QuotaExceeded               Code = 403002
	MethodsInFlightExceeded     Code = 403800
	NotFound                    Code = 404000
	DeviceNotFound              Code = 404001
	JobNotFound                 Code = 404002
	ModuleNotFound              Code = 404010
	DeviceNotOnline             Code = 404103
	DeviceConnectionClosed      Code = 404104
	ConfigurationNotFound       Code = 404301
	MethodNotAllowed            Code = 405000
	Conflict                    Code = 409000
	DeviceAlreadyExists         Code = 409001
	JobAlreadyExists            Code = 409104
	ModuleAlreadyExists         Code = 409301
	ConfigurationAlreadyExists  Code = 409401
	ConfigurationBeingApplied   Code = 409402
	PreconditionFailed          Code = 412001
	MessageLockLost             Code = 412002
	MessageTooLarge             Code = 413001
	TooManyDevices              Code = 413002
	TooManyModules              Code = 413003
	TooManyConfigurations       Code = 413101
	UnsupportedMediaType        Code = 415101
	Throttled                   Code = 429001
	TooManyJobs                 Code = 429004
	ServerError                 Code = 500001
	BadDeviceResponse           Code = 502101
	ServiceUnavailable          Code = 503001
	ServerBusy                  Code = 503005
	GatewayTimeout              Code = 504101
	NullMessage                 Code = 400026
	DeviceThrottled             Code = 429005
)

var codeNames = map[Code]string{
	BadRequest:              "GenericBadRequest",
	InvalidProtocolVersion:  "InvalidProtocolVersion",
	InvalidOperation:        "InvalidOperation",
	ArgumentInvalid:         "ArgumentInvalid",
	ArgumentNull:            "ArgumentNull",
	IotHubFormatError:       "IotHubFormatError",
	InvalidSchemaVersion:    "InvalidSchemaVersion",
	DeviceDefinedTwice:      "DeviceDefinedMultipleTimes",
	InvalidCorrelationID:    "InvalidFileUploadCorrelationId",
	ExpiredCorrelationID:    "ExpiredFileUploadCorrelationId",
	InvalidUploadStatus:     "InvalidFileUploadCompletionStatus",
	InvalidBlob:             "InvalidStorageEndpointOrBlob",
	RequestCanceled:         "RequestCanceled",
	DeserializationError:    "DeserializationError",
	BulkOperationFailure:    "BulkRegistryOperationFailure",
	ReplacedByNewConnection: "ConnectionForcefullyClosedOnNewConnection",
	InvalidDeviceScope:      "InvalidDeviceScope",

	InvalidDigitalTwinJSONPatch: "InvalidDigitalTwinJsonPatch",
	InvalidDigitalTwinPayload:   "InvalidDigitalTwinPayload",
	InvalidDigitalTwinPatch:     "InvalidDigitalTwinPatch",
	InvalidDigitalTwinPatchPath: "InvalidDigitalTwinPatchPath",

	InvalidConfigurationTarget:  "InvalidConfigurationTargetCondition",
	InvalidConfigurationContent: "InvalidConfigurationContent",
	ConfigurationContentFixed:   "CannotModifyImmutableConfigurationContent",
	InvalidConfigurationMetrics: "InvalidConfigurationCustomMetricsQuery",
	Unauthorized:                "GenericUnauthorized",
	HubNotFound:                 "IotHubNotFound",
	UnauthorizedAccess:          "IotHubUnauthorizedAccess",
	HubUnauthorized:             "IotHubUnauthorized",
	SystemModuleUnauthorized:    "SystemModuleModifyUnauthorizedAccess",
	Forbidden:                   "GenericForbidden",
	JobQuotaExceeded:            "JobQuotaExceeded",
	QueueDepthExceeded:          "DeviceMaximumQueueDepthExceeded",
	TooManyUploads:              "DeviceMaximumActiveFileUploadLimitExceeded",
	InvalidMessageExpiry:        "InvalidMessageExpiryTime",
	OperationNotAvailable:       "OperationNotAvailableInCurrentTier",
	DeviceDisabled:              "DeviceDisabled",
	QuotaExceeded:               "IotHubQuotaExceeded",
	MethodsInFlightExceeded:     "DeviceMaximumInflightMethodExceeded",
	NotFound:                    "GenericNotFound",
	DeviceNotFound:              "DeviceNotFound",
	JobNotFound:                 "JobNotFound",
	ModuleNotFound:              "ModuleNotFound",
	DeviceNotOnline:             "DeviceNotOnline",
	DeviceConnectionClosed:      "DeviceConnectionClosedRemotely",
	ConfigurationNotFound:       "ConfigurationNotFound",
	MethodNotAllowed:            "GenericMethodNotAllowed",
	Conflict:                    "GenericConflict",
	DeviceAlreadyExists:         "DeviceAlreadyExists",
	JobAlreadyExists:            "JobAlreadyExists",
	ModuleAlreadyExists:         "ModuleAlreadyExistsOnDevice",
	ConfigurationAlreadyExists:  "ConfigurationAlreadyExists",
	ConfigurationBeingApplied:   "ApplyConfigurationAlreadyInProgressOnDevice",
	PreconditionFailed:          "PreconditionFailed",
	MessageLockLost:             "DeviceMessageLockLost",
	MessageTooLarge:             "MessageTooLarge",
	TooManyDevices:              "TooManyDevices",
	TooManyModules:              "TooManyModulesOnDevice",
	TooManyConfigurations:       "ConfigurationCountLimitExceeded",
	UnsupportedMediaType:        "IncompatibleDataType",
	Throttled:                   "ThrottlingException",
	TooManyJobs:                 "ThrottlingMaxActiveJobCountExceeded",
	ServerError:                 "ServerError",
	BadDeviceResponse:           "BadDeviceResponse",
	ServiceUnavailable:          "ServiceUnavailable",
	ServerBusy:                  "ServerBusy",
	GatewayTimeout:              "GatewayTimeout",
	NullMessage:                 "NullMessage",
	DeviceThrottled:             "DeviceThrottlingLimitExceeded",
}

// Name gives the documented name, such as "DeviceNotFound".
func (c Code) Name() string {
	if n, ok := codeNames[c]; ok {
		return n
	}
	return "ServerError"
}

// Status gives the HTTP status that belongs to the code.
func (c Code) Status() int { return int(c) / 1000 }

// Error is the one domain error. Message is shown to the caller and says what
// was wrong and what to do; Err, when set, is the cause and is only logged.
type Error struct {
	Code    Code
	Message string
	Err     error
	// After is how long to wait before trying again; 0 says nothing.
	After time.Duration
}

// Errorf makes an Error; %w keeps a cause for errors.Is and the log.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

func (e *Error) Error() string { return e.Code.Name() + ": " + e.Message }

func (e *Error) Unwrap() error { return e.Err }

// CodeOf gives the code of the domain error in err's chain, ServerError when
// there is none and 0 when err is nil.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ServerError
}
