// Static models of families, for the tests.
#include "tests/support/family_models.hpp"

namespace inlay_test {

std::vector<FamilyModel> FamilyModels3() {
  using namespace family;
  return {FamilyModelOf<kOlmoThree>(), FamilyModelOf<kGraniteDense>(), FamilyModelOf<kGraniteExperts>(),
          FamilyModelOf<kGpt2Small>(), FamilyModelOf<kNeoX>()};
}

}  // namespace inlay_test
