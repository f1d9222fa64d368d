//! From the name of an element type to the type.

/// Calls `$body` with the element type of `$dtype` as `$t`.
macro_rules! by_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        $crate::dtype::by_dtype!(@ $dtype, $t => $body; I8 i8, U8 u8, I16 i16, U16 u16, I32 i32, U32 u32,
            I64 i64, U64 u64, F16 selvedge_kernels::f16, Bf16 selvedge_kernels::bf16, F32 f32, F64 f64)
    };
    (@ $dtype:expr, $t:ident => $body:expr; $($variant:ident $type:ty),*) => {
        match $dtype {
            $(selvedge_core::DType::$variant => {
                type $t = $type;
                $body
            })*
        }
    };
}
pub(crate) use by_dtype;
