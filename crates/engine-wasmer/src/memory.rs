//! What a guest may take of its container's memory.

use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use medley_engine::memory::{Available, MemoryBudget};
use wasmer::sys::vm::{TableStyle, VMMemory, VMMemoryDefinition, VMTable, VMTableDefinition};
use wasmer::sys::{BaseTunables, NativeEngineExt, Tunables};
use wasmer::{Engine, MemoryError, MemoryStyle, MemoryType, Pages, TableType, WASM_PAGE_SIZE};

/// Has every memory of a guest end where its container's limit, as it was at the start, would be
/// passed. Each memory counts alone: Wasmer asks when one is made, and not when it grows.
struct Limits {
    base: BaseTunables,
    budget: MemoryBudget,
    max: Option<Available>,
    refused: Refusal,
}

/// Why a memory was refused, for the message of what fails because of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusal(Arc<OnceLock<String>>);

impl Refusal {
    /// What was refused, or else what `other` says.
    pub(crate) fn or(&self, other: impl FnOnce() -> String) -> String {
        self.0.get().cloned().unwrap_or_else(other)
    }
}

/// The engine, with limits for one guest.
pub(crate) fn limited(engine: &Engine, budget: &MemoryBudget) -> (Engine, Refusal) {
    let mut engine = engine.clone();
    let refused = Refusal::default();
    engine.set_tunables(Limits {
        base: BaseTunables::for_target(engine.target()),
        budget: budget.clone(),
        max: budget.available(),
        refused: refused.clone(),
    });
    (engine, refused)
}

impl Limits {
    /// The type that a memory is made of.
    fn limit(&self, ty: &MemoryType) -> Result<MemoryType, MemoryError> {
        let Some(max) = self.max else {
            return Ok(*ty);
        };
        let page = u64::try_from(WASM_PAGE_SIZE).unwrap_or(u64::MAX);
        let mut reservation = self.budget.reservation();
        if !reservation.grow(0, u64::from(ty.minimum.0).saturating_mul(page)) {
            let text = reservation.refused().map(|refused| refused.to_string());
            let text = text.unwrap_or_default();
            // Only the first is told of: the guest has not started.
            self.refused.0.set(text.clone()).ok();
            return Err(MemoryError::Generic(text));
        }
        let pages = Pages(u32::try_from(max.bytes / page).unwrap_or(u32::MAX));
        let maximum = ty.maximum.unwrap_or(Pages::max_value()).min(pages);
        Ok(MemoryType {
            maximum: Some(maximum.max(ty.minimum)),
            ..*ty
        })
    }
}

impl Tunables for Limits {
    fn memory_style(&self, memory: &MemoryType) -> MemoryStyle {
        self.base.memory_style(memory)
    }

    fn table_style(&self, table: &TableType) -> TableStyle {
        self.base.table_style(table)
    }

    fn create_host_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
    ) -> Result<VMMemory, MemoryError> {
        self.base.create_host_memory(&self.limit(ty)?, style)
    }

    unsafe fn create_vm_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
        vm_definition_location: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        let ty = self.limit(ty)?;
        // SAFETY: the caller's location, handed on as it is. The style is the one that the code
        // was made for; a smaller maximum changes nothing about where an access may reach.
        unsafe {
            self.base
                .create_vm_memory(&ty, style, vm_definition_location)
        }
    }

    fn create_host_table(&self, ty: &TableType, style: &TableStyle) -> Result<VMTable, String> {
        self.base.create_host_table(ty, style)
    }

    unsafe fn create_vm_table(
        &self,
        ty: &TableType,
        style: &TableStyle,
        vm_definition_location: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        // SAFETY: all of it the caller's, handed on as it is.
        unsafe { self.base.create_vm_table(ty, style, vm_definition_location) }
    }
}
