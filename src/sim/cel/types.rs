//! The types that Kubernetes adds, and how functions get at their arguments.

use std::sync::LazyLock;

use cel::ExecutionError;
use cel::common::types::Type;
use cel::common::value::{CowVal, FromVal};

/// `google.protobuf.Duration`.
pub(super) static DURATION: LazyLock<Type> = LazyLock::new(|| Type::new_opaque_type("google.protobuf.Duration"));
/// `google.protobuf.Timestamp`.
pub(super) static TIMESTAMP: LazyLock<Type> = LazyLock::new(|| Type::new_opaque_type("google.protobuf.Timestamp"));
/// `kubernetes.Quantity`.
pub(super) static QUANTITY: LazyLock<Type> = LazyLock::new(|| Type::new_opaque_type("kubernetes.Quantity"));
/// `net.IP`.
pub(super) static IP: LazyLock<Type> = LazyLock::new(|| Type::new_opaque_type("net.IP"));
/// `net.CIDR`.
pub(super) static CIDR: LazyLock<Type> = LazyLock::new(|| Type::new_opaque_type("net.CIDR"));
/// `kubernetes.URL`.
pub(super) static URL: LazyLock<Type> = LazyLock::new(|| Type::new_opaque_type("kubernetes.URL"));

/// No such function for such arguments.
pub(super) fn overload(function: &str) -> ExecutionError {
    ExecutionError::no_such_overload(function, Vec::new())
}

/// An argument of the type that a function takes.
pub(super) fn argument<'b, 'v, T: FromVal<'b, 'v>>(args: &'b [CowVal<'_, 'v>], at: usize, function: &str) -> Result<&'b T, ExecutionError> {
    args.get(at).and_then(|value| (**value).downcast_ref::<T>()).ok_or_else(|| overload(function))
}

/// Makes a structure a value of the interpreter's, of one of these types; `extra` is what it can do besides.
macro_rules! value {
    ($name:ident, $type:expr $(, $extra:item)*) => {
        impl cel::common::value::Val for $name {
            fn get_type(&self) -> &cel::common::types::Type {
                &$type
            }

            fn cel_type() -> &'static cel::common::types::Type {
                &$type
            }

            $($extra)*

            fn equals(&self, other: &dyn cel::common::value::Val) -> bool {
                other.downcast_ref::<Self>() == Some(self)
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn cel::common::value::Val + 'v>
            where
                Self: 'v,
            {
                Box::new(Clone::clone(self))
            }

            fn as_any(&self) -> Option<&dyn std::any::Any> {
                Some(self)
            }
        }

        impl cel::common::value::StaticVal for $name {}
    };
}
pub(super) use value;
