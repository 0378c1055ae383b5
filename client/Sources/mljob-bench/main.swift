import MLJobKit
