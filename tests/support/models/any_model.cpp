// AnyModel for the tests.
#include "tests/support/test_model.hpp"

namespace inlay_test {

inlay::Result<std::unique_ptr<TestModel>> MakeAnyModel(const ModelParts& parts) {
  return TestModelOf<inlay::AnyModel>::Make(parts);
}

}  // namespace inlay_test
