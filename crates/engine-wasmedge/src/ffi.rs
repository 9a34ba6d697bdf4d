//! The part of WasmEdge's C API that is used here, from `wasmedge/wasmedge.h` 0.14.1.
//!
//! Strings that WasmEdge returns belong to the object that they were asked of.

#![allow(
    missing_debug_implementations,
    reason = "opaque objects of another library"
)]

use std::ffi::{c_char, c_int};

macro_rules! opaque {
    ($($name:ident),* $(,)?) => {$(
        #[repr(C)]
        pub(crate) struct $name {
            _private: [u8; 0],
        }
    )*};
}

opaque!(
    Configure,
    Compiler,
    Loader,
    Validator,
    AstModule,
    ImportType,
    ExportType,
    FunctionType,
    Executor,
    Store,
    ModuleInstance,
    FunctionInstance,
    Plugin,
    Statistics,
);

/// `WasmEdge_Result`: the code in the low 24 bits, its category above.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Result {
    pub(crate) code: u32,
}

/// `WasmEdge_String`: not terminated.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) length: u32,
    pub(crate) bytes: *const c_char,
}

/// `WasmEdge_ValType`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct ValueType {
    pub(crate) data: [u8; 8],
}

/// `WasmEdge_Value`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Value {
    pub(crate) value: u128,
    pub(crate) kind: ValueType,
}

/// `WasmEdge_Result_Success`.
pub(crate) const SUCCESS: u32 = 0;
/// `WasmEdge_Result_Terminate`: the guest called `proc_exit`.
pub(crate) const TERMINATED: u32 = 1;

/// `WasmEdge_ExternalType_Function`.
pub(crate) const FUNCTION: c_int = 0;

/// `WasmEdge_CompilerOutputFormat_Native`: a shared object.
pub(crate) const NATIVE: c_int = 0;
/// `WasmEdge_CompilerOptimizationLevel_O2`.
pub(crate) const O2: c_int = 2;

/// `WasmEdge_Proposal_…`, those beyond the ones that are on by default.
pub(crate) const TAIL_CALL: c_int = 7;
pub(crate) const EXTENDED_CONST: c_int = 8;
pub(crate) const MULTI_MEMORIES: c_int = 11;
pub(crate) const THREADS: c_int = 12;

unsafe extern "C" {
    pub(crate) fn WasmEdge_VersionGet() -> *const c_char;
    pub(crate) fn WasmEdge_LogOff();
    pub(crate) fn WasmEdge_ResultGetMessage(result: Result) -> *const c_char;

    pub(crate) fn WasmEdge_ValTypeIsEqual(one: ValueType, other: ValueType) -> bool;
    pub(crate) fn WasmEdge_ValTypeIsI32(it: ValueType) -> bool;
    pub(crate) fn WasmEdge_ValTypeIsI64(it: ValueType) -> bool;
    pub(crate) fn WasmEdge_ValTypeIsF32(it: ValueType) -> bool;
    pub(crate) fn WasmEdge_ValTypeIsF64(it: ValueType) -> bool;
    pub(crate) fn WasmEdge_ValTypeIsV128(it: ValueType) -> bool;

    pub(crate) fn WasmEdge_ConfigureCreate() -> *mut Configure;
    pub(crate) fn WasmEdge_ConfigureDelete(it: *mut Configure);
    pub(crate) fn WasmEdge_ConfigureAddProposal(it: *mut Configure, proposal: c_int);
    pub(crate) fn WasmEdge_ConfigureSetMaxMemoryPage(it: *mut Configure, pages: u32);
    pub(crate) fn WasmEdge_ConfigureSetForceInterpreter(it: *mut Configure, force: bool);
    pub(crate) fn WasmEdge_ConfigureCompilerSetOptimizationLevel(it: *mut Configure, level: c_int);
    pub(crate) fn WasmEdge_ConfigureCompilerSetOutputFormat(it: *mut Configure, format: c_int);

    pub(crate) fn WasmEdge_CompilerCreate(configure: *const Configure) -> *mut Compiler;
    pub(crate) fn WasmEdge_CompilerDelete(it: *mut Compiler);
    pub(crate) fn WasmEdge_CompilerCompileFromBuffer(
        it: *mut Compiler,
        bytes: *const u8,
        length: u64,
        to: *const c_char,
    ) -> Result;

    pub(crate) fn WasmEdge_LoaderCreate(configure: *const Configure) -> *mut Loader;
    pub(crate) fn WasmEdge_LoaderDelete(it: *mut Loader);
    pub(crate) fn WasmEdge_LoaderParseFromFile(
        it: *mut Loader,
        module: *mut *mut AstModule,
        path: *const c_char,
    ) -> Result;
    pub(crate) fn WasmEdge_LoaderParseFromBuffer(
        it: *mut Loader,
        module: *mut *mut AstModule,
        bytes: *const u8,
        length: u32,
    ) -> Result;

    pub(crate) fn WasmEdge_ASTModuleDelete(it: *mut AstModule);
    pub(crate) fn WasmEdge_ASTModuleListImportsLength(it: *const AstModule) -> u32;
    pub(crate) fn WasmEdge_ASTModuleListImports(
        it: *const AstModule,
        imports: *mut *const ImportType,
        length: u32,
    ) -> u32;
    pub(crate) fn WasmEdge_ASTModuleListExportsLength(it: *const AstModule) -> u32;
    pub(crate) fn WasmEdge_ASTModuleListExports(
        it: *const AstModule,
        exports: *mut *const ExportType,
        length: u32,
    ) -> u32;
    pub(crate) fn WasmEdge_ImportTypeGetExternalType(it: *const ImportType) -> c_int;
    pub(crate) fn WasmEdge_ImportTypeGetModuleName(it: *const ImportType) -> Text;
    pub(crate) fn WasmEdge_ImportTypeGetExternalName(it: *const ImportType) -> Text;
    pub(crate) fn WasmEdge_ImportTypeGetFunctionType(
        module: *const AstModule,
        it: *const ImportType,
    ) -> *const FunctionType;
    pub(crate) fn WasmEdge_ExportTypeGetExternalType(it: *const ExportType) -> c_int;
    pub(crate) fn WasmEdge_ExportTypeGetExternalName(it: *const ExportType) -> Text;
    pub(crate) fn WasmEdge_ExportTypeGetFunctionType(
        module: *const AstModule,
        it: *const ExportType,
    ) -> *const FunctionType;
    pub(crate) fn WasmEdge_FunctionTypeGetParametersLength(it: *const FunctionType) -> u32;
    pub(crate) fn WasmEdge_FunctionTypeGetParameters(
        it: *const FunctionType,
        list: *mut ValueType,
        length: u32,
    ) -> u32;
    pub(crate) fn WasmEdge_FunctionTypeGetReturnsLength(it: *const FunctionType) -> u32;
    pub(crate) fn WasmEdge_FunctionTypeGetReturns(
        it: *const FunctionType,
        list: *mut ValueType,
        length: u32,
    ) -> u32;

    pub(crate) fn WasmEdge_ValidatorCreate(configure: *const Configure) -> *mut Validator;
    pub(crate) fn WasmEdge_ValidatorDelete(it: *mut Validator);
    pub(crate) fn WasmEdge_ValidatorValidate(
        it: *mut Validator,
        module: *const AstModule,
    ) -> Result;

    pub(crate) fn WasmEdge_ExecutorCreate(
        configure: *const Configure,
        statistics: *mut Statistics,
    ) -> *mut Executor;
    pub(crate) fn WasmEdge_ExecutorRegisterImport(
        it: *mut Executor,
        store: *mut Store,
        import: *const ModuleInstance,
    ) -> Result;
    pub(crate) fn WasmEdge_ExecutorInstantiate(
        it: *mut Executor,
        instance: *mut *mut ModuleInstance,
        store: *mut Store,
        module: *const AstModule,
    ) -> Result;
    pub(crate) fn WasmEdge_ExecutorInvoke(
        it: *mut Executor,
        function: *const FunctionInstance,
        parameters: *const Value,
        parameters_length: u32,
        returns: *mut Value,
        returns_length: u32,
    ) -> Result;
    pub(crate) fn WasmEdge_StoreCreate() -> *mut Store;

    pub(crate) fn WasmEdge_ModuleInstanceCreateWASI(
        args: *const *const c_char,
        args_length: u32,
        env: *const *const c_char,
        env_length: u32,
        preopens: *const *const c_char,
        preopens_length: u32,
    ) -> *mut ModuleInstance;
    pub(crate) fn WasmEdge_ModuleInstanceWASIGetExitCode(it: *const ModuleInstance) -> u32;
    pub(crate) fn WasmEdge_ModuleInstanceFindFunction(
        it: *const ModuleInstance,
        name: Text,
    ) -> *mut FunctionInstance;
    pub(crate) fn WasmEdge_ModuleInstanceDelete(it: *mut ModuleInstance);
    pub(crate) fn WasmEdge_FunctionInstanceGetFunctionType(
        it: *const FunctionInstance,
    ) -> *const FunctionType;

    pub(crate) fn WasmEdge_PluginLoadWithDefaultPaths();
    pub(crate) fn WasmEdge_PluginListPluginsLength() -> u32;
    pub(crate) fn WasmEdge_PluginListPlugins(names: *mut Text, length: u32) -> u32;
    pub(crate) fn WasmEdge_PluginFind(name: Text) -> *const Plugin;
    pub(crate) fn WasmEdge_PluginListModuleLength(it: *const Plugin) -> u32;
    pub(crate) fn WasmEdge_PluginListModule(
        it: *const Plugin,
        names: *mut Text,
        length: u32,
    ) -> u32;
    pub(crate) fn WasmEdge_PluginCreateModule(
        it: *const Plugin,
        module: Text,
    ) -> *mut ModuleInstance;
}
