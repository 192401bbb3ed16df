// An error cannot be dropped by accident.
// expect-gcc: ignoring return(ed)? value .*nodiscard
// expect-clang: ignoring (temporary|return value).*nodiscard
#include "inlay/core/result.hpp"

inlay::Result<int> MayFail();

void Caller() {
#if defined(CONTROL)
  (void)MayFail();
#else
  MayFail();
#endif
}
